"""What differs on a CUDA device: run with ``pytest -m gpu`` where there is one.

``SEGKIT_GPU_TESTS_ON=cpu pytest -m gpu`` runs them without: it finds mistakes in the tests, and checks nothing of CUDA.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from training import config, lines, losses, same_weights

from segkit.config.memprofile import MemprofileConfig
from segkit.memprofile.profile import memprofile
from segkit.training.train import train

DEVICE = os.environ.get("SEGKIT_GPU_TESTS_ON", "cuda")
ON_GPU = DEVICE == "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="needs a CUDA device"),
]
needs_gpu = pytest.mark.skipif(not ON_GPU, reason="has no counterpart on a CPU")


@pytest.fixture(autouse=True)
def _whole_device():
    """A limit that a run set stays for its process: the next test may use all memory again."""
    yield
    if ON_GPU:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("fp16", marks=needs_gpu)])
@pytest.mark.parametrize("model", ["maskrcnn", "unet"])
def test_a_run_on_the_gpu(dataset, tmp_path, model, precision):
    summary = train(config(dataset, tmp_path, model=model, device=DEVICE, precision=precision))
    step = lines(summary.run)[-1]
    if ON_GPU:
        assert step["allocated"] > 0
        assert step["reserved"] >= step["peak"] >= step["allocated"]


def test_two_ranks_on_one_gpu(dataset, tmp_path):
    """NCCL refuses that; segkit takes gloo."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, "-m", *launcher, "-m", "segkit", "train"]
    more = [str(dataset), "--model", "unet", "--weights", "none", "--size", "64", "--batch", "2", "--steps", "2"]
    devices = ["--gpus", "0"] if ON_GPU else ["--device", "cpu"]
    done = subprocess.run(
        [*command, *more, "--out", str(tmp_path), "--name", "r", *devices],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r/origin.json").read_text())["ranks"] == 2


@pytest.mark.parametrize("model", ["maskrcnn", "unet"])
def test_deterministic_runs_are_equal(dataset, tmp_path, model):
    some = config(dataset, tmp_path, model=model, device=DEVICE, deterministic=True)
    try:
        first, second = train(some).run, train(some).run
    finally:
        torch.use_deterministic_algorithms(False)
    assert losses(first) == losses(second)
    assert same_weights(first, second)


@needs_gpu
def test_a_budget_is_kept_by_fewer_pictures_at_once(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet", device="cuda", size=512, batch=8, norm="group", precision="fp32")
    whole = train(some)
    peak = max(line["peak"] for line in lines(whole.run))
    budget = int(0.7 * peak)
    fitted = train(replace(some, micro_batch="auto", vram=budget))
    assert fitted.micro_batch < 8
    assert max(line["reserved"] for line in lines(fitted.run)) <= budget
    found = train(replace(some, vram=budget))  # without auto: a step runs out of memory and is repeated
    assert found.micro_batch < 8
    for run in (fitted.run, found.run):
        for a, b in zip(lines(whole.run), lines(run), strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=2e-2)


def test_a_profile_on_the_gpu(dataset, tmp_path):
    (tmp_path / "c.toml").write_text(f'dataset = "{dataset}"\nweights = "none"\nsize = 64\nbatch = 2\n')
    config_file = str(tmp_path / "c.toml")
    summary = memprofile(MemprofileConfig(target=[config_file], steps=26, out=tmp_path / "m", device=DEVICE))
    document = json.loads(summary.json_path.read_text())
    if ON_GPU:
        assert document["counted"] == "bytes of PyTorch's CUDA allocator"
        assert document["series"]["reserved"][-1] > 0
    assert document["verdict"] == "clean"
