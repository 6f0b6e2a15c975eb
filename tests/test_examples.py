"""The examples run as they are printed, with few steps, up to LabelMe's window."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.commands.label import labelme_program

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_loop_between_a_person_and_a_model_up_to_the_window_of_labelme():
    folder = ROOT / "review-demo"
    shutil.rmtree(folder, ignore_errors=True)
    offscreen = os.environ | {"STEPS": "3", "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        ["bash", "examples/review.sh"], cwd=ROOT, env=offscreen, capture_output=True, text=True, check=False
    )
    try:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        for part in ("Cohen's kappa", "check/check.html", "what to annotate next"):
            assert part in said
        assert (folder / "check/check.html").is_file()
        again = [sys.executable, "-m", "segkit", "label", "more", "--next", "5", "--model", "runs/fold1", "--json"]
        listed = subprocess.run(again, cwd=folder, capture_output=True, text=True, check=True).stdout
        named = [Path(each["image"]).name for each in json.loads(listed)["next"]]
        assert len(named) == 5
        assert all(name in said for name in named)
        with pytest.raises(subprocess.TimeoutExpired):  # the window stays open: LabelMe could read what is there
            subprocess.run([labelme_program(), str(folder / "second")], env=offscreen, timeout=20, check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is_printed(tmp_path):
    """Every command of the page, with few steps in place of hours, and LabelMe's window closed again."""
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    lines = [
        line for block in re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL) for line in block.splitlines()
    ]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, program in (
        ("segkit", f'exec {sys.executable} -m segkit "$@"'),
        ("python", f'exec {sys.executable} "$@"'),
    ):
        (bin_folder / name).write_text(f"#!/bin/sh\n{program}\n")
        (bin_folder / name).chmod(0o755)
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT)
    for line in lines:
        if line.startswith("pip install"):
            continue
        command = re.sub(r"--time \d+h", "--steps 4", line)
        if command.startswith("segkit label"):
            command = f"timeout -s INT 20 {command} || [ $? = 124 ]"  # the window stays open until it is closed
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr[-2000:])
        assert "Traceback" not in done.stderr
    assert (tmp_path / "runs/latest/model.onnx").is_file()
    assert (tmp_path / "answers/overlay").is_dir()
    assert (tmp_path / "predictions/instances.csv").is_file()
