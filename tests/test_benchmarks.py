"""The measurements for a GPU run on the CPU with tiny sizes, so that a mistake in them shows where there is no GPU."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT


def rehearse(out, *options):
    """Run ``on_gpu.sh --rehearse`` with this environment's Python; the lines of its results."""
    environment = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}  # noqa: PTH120
    command = ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), str(out), "--rehearse", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + (out / "log.txt").read_text()[-3000:]
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_step_is_measured_beside_torchvisions_and_its_losses_are_equal(tmp_path):
    lines = {line["case"]: line for line in rehearse(tmp_path / "out", "--only", "step")}
    assert lines["losses equal torchvision's in fp32"]["largest_relative_difference"] < 1e-6
    for program in ("segkit", "torchvision"):
        assert lines[f"{program}, batch 2, 2 instances"]["step_ms"]["median"] > 0
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert all(f"| step | {case} |" in summary for case in lines)


def test_a_stage_that_fails_does_not_stop_the_others(tmp_path):
    """Without a GPU, all but a rehearsal fails: each stage alone, in its own line."""
    script = ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), str(tmp_path), "--only", "memprofile,ranks"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "SEGKIT_PURE": "1"}
    environment["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # noqa: PTH120
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["exit_code"]) for line in lines] == [("memprofile", 1), ("ranks", 1)]
    assert "no CUDA device is available" in done.stdout


def test_the_stages_fit_eight_minutes_and_stand_in_the_docs():
    script = (ROOT / "benchmarks" / "on_gpu.sh").read_text()
    stages = dict(each.split(":") for each in script.partition("stages=(")[2].partition(")")[0].split())
    assert sum(map(int, stages.values())) <= 480
    table = (ROOT / "docs" / "benchmarks.md").read_text()
    for number, (name, limit) in enumerate(stages.items()):
        assert f"| {number} | `{name}` | {limit} s |" in table


@pytest.mark.slow
def test_all_stages_are_rehearsed(tmp_path):
    lines = rehearse(tmp_path / "out")
    assert [line["stage"] for line in lines if line["case"] == "whole stage"] == [
        "machine", "tests", "step", "fit", "vram", "memprofile", "unet", "predict", "oom", "ranks",
    ]  # fmt: skip
    assert not [line for line in lines if line.get("error") is not None]
