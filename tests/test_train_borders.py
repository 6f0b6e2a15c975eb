"""At the border of what is possible, training works or says in one line why it does not."""

import json
import math
import shutil
import socket

import pytest
import torch
from training import config, lines

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError
from segkit.models.backbones import BatchNorm2d
from segkit.training.train import train

ONE_PIXEL = "warning: the deepest maps have a single pixel"


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("unet", ["--size", 32, "--batch", 1]),
        ("unet", ["--size", 32, "--batch", 2, "--micro-batch", 1]),
        ("maskrcnn", ["--size", 32, "--batch", 1]),
    ],
)
def test_maps_of_a_single_pixel_train_with_batch_norm(dataset, here, segkit, model, options):
    outcome = segkit(
        "train", dataset, "--model", model, "--weights", "none", "--device", "cpu", "--norm", "batch", "--steps", 1,
        *options,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(ONE_PIXEL) == 1
    (line,) = lines(here / f"runs/{model}-1")
    assert math.isfinite(line["loss"])


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "group", "frozen"])
@pytest.mark.parametrize("model", ["unet", "maskrcnn", "fasterrcnn"])
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2", "mobilenet_v3_large"])
def test_every_model_trains_on_the_smallest_images(dataset, tmp_path, model, backbone, norm):
    for size, memory in ((32, "normal"), (32, "low"), (64, "normal")):
        some = config(
            dataset, tmp_path, model=model, backbone=backbone, norm=norm, size=size, batch=1, steps=1, memory=memory
        )
        assert train(some).steps == 1


def test_a_batch_norm_equals_torchs_wherever_torchs_has_a_result():
    torch.manual_seed(0)
    ours, theirs = BatchNorm2d(4), torch.nn.BatchNorm2d(4)
    for shape in ((2, 4, 3, 3), (2, 4, 1, 1), (1, 4, 1, 2)):
        x = torch.randn(shape)
        assert torch.equal(ours(x), theirs(x))
        assert all(
            torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        )
    assert not ours.met_one_value
    x = torch.randn(1, 4, 1, 1, requires_grad=True)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        theirs(x)
    before = ours.running_mean.clone()
    assert torch.equal(ours(x), theirs.eval()(x))
    assert torch.equal(ours.running_mean, before)
    assert ours.met_one_value


def test_a_unet_refuses_more_categories_than_label_maps_hold(dataset, tmp_path, segkit):
    shutil.copytree(dataset, tmp_path / "d")
    for split in ("train", "val"):
        document = json.loads((tmp_path / f"d/{split}.json").read_text())
        have = len(document["categories"])
        document["categories"] += [{"id": 100 + n, "name": f"c{n}"} for n in range(255 - have)]
        (tmp_path / f"d/{split}.json").write_text(json.dumps(document))
    outcome = segkit("train", tmp_path / "d", "--model", "unet", "--weights", "none", "--out", tmp_path / "runs")
    assert outcome.code == 1
    assert "has 255 categories; label maps hold 254\nhint: use --model maskrcnn" in outcome.err
    assert not (tmp_path / "runs").exists()


HUGE = str(10**30)
BOUNDED = [
    "--batch", "--micro-batch", "--workers", "--seed", "--gpus", "--steps", "--epochs", "--size", "--max-size",
    "--ranks", "--warmup", "--patience", "--eval-every", "--time",
]  # fmt: skip


@pytest.mark.parametrize("flag", BOUNDED)
def test_numbers_beyond_their_bounds_are_usage_errors(segkit, here, flag):
    outcome = segkit("train", flag, HUGE)
    assert outcome.code == 2, outcome.err
    assert f"Invalid value for '{flag}'" in outcome.err


@pytest.mark.parametrize(("name", "value"), [("steps", 10**30), ("batch", 0), ("lr", math.nan), ("seed", -1)])
def test_numbers_in_the_config_of_a_run_have_the_same_bounds(tmp_path, name, value):
    (tmp_path / "c.toml").write_text(f"{name} = {value}\n")
    with pytest.raises(ConfigError, match=rf"c\.toml: {name}: "):
        load_config(TrainConfig, tmp_path / "c.toml")


def test_a_port_that_is_in_use_is_named_in_one_line(segkit, here, dataset, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(other.getsockname()[1])}
        for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | place).items():
            monkeypatch.setenv(name, value)
        outcome = segkit("train", dataset, "--device", "cpu", "--steps", 1, "--weights", "none")
    assert outcome.code == 1
    assert "error: the ranks cannot meet: " in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "0"},
        {"WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "nowhere", "MASTER_PORT": "0"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    ],
)
def test_variables_of_a_run_by_itself_start_no_ranks(monkeypatch, variables):
    from segkit.runtime.ranks import adopt_slurm, launched_from_outside

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    adopt_slurm()
    assert not launched_from_outside()


@pytest.mark.parametrize(
    "variables",
    [{"WORLD_SIZE": "2"}, {"RANK": "1"}, {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "first"}],
)
def test_half_of_a_launchers_variables_is_an_error(monkeypatch, variables):
    from segkit.runtime.ranks import adopt_slurm

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError):
        adopt_slurm()


def test_weights_that_are_not_finite_are_not_exported(dataset, tmp_path, segkit):
    run = train(config(dataset, tmp_path, model="unet", steps=1)).run
    content = torch.load(run / "best.pt", weights_only=True)
    content["model"] = {n: v * math.nan if v.is_floating_point() else v for n, v in content["model"].items()}
    torch.save(content, run / "best.pt")
    outcome = segkit("export", run, "--out", tmp_path / "m.onnx")
    assert outcome.code == 1
    assert "has values that are not finite" in outcome.err
    assert not (tmp_path / "m.onnx").exists()
