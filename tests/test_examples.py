"""The examples run as they are printed, with few steps, up to LabelMe's window."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.runtime.labelme import labelme_program

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


def test_the_makefile_makes_what_the_sources_are_newer_than(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.json").touch()
    make = ["make", "-n", "-f", str(ROOT / "examples/pipelines/Makefile"), "TIME=2h", "TRAIN=--model unet"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("segkit")] == [
        ["segkit", command] for command in ("convert", "train", "eval", "export", "predict")
    ]
    assert "segkit train dataset --name made --time 2h --model unet" in done.stdout
    for number, made in enumerate(
        ("dataset/train.json", "runs/made/best.pt", "runs/made/evaluation/report.html", "runs/made/model.onnx")
    ):
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).touch()
        os.utime(tmp_path / made, (4_000_000_000 + number, 4_000_000_000 + number))
    left = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in left.splitlines()] == ["predict"]


def test_the_service_is_the_one_of_the_page():
    unit = (ROOT / "examples/pipelines/segkit-watch.service").read_text(encoding="utf-8")
    assert f"```\n{unit}```" in (ROOT / "docs/deploy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("restarted", [False, True])
def test_the_job_goes_on_where_it_was(tmp_path, restarted):
    """With an srun that says what it would start; the environment of a job is not here."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    if restarted:
        (tmp_path / "runs/cells").mkdir(parents=True)
        (tmp_path / "runs/cells/last.pt").touch()
    script = ["bash", str(ROOT / "examples/pipelines/slurm.sh"), "dataset", "cells"]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    runs = tmp_path / "runs"
    fresh = f"segkit train dataset --out {runs} --name cells --time 220m"
    assert said.strip() == (f"segkit train --resume {runs}/cells" if restarted else fresh)
    assert subprocess.run(script[:2], cwd=tmp_path, capture_output=True, check=False).returncode == 1


def ran(script, folder, *arguments, **variables):
    """Run an example in a copy of the repository's examples, with this environment in place of one of its own."""
    (folder / ".ci").mkdir()
    (folder / ".ci/environment").touch()
    shutil.copytree(ROOT / "examples", folder / "examples")
    programs = folder / "bin"
    programs.mkdir()
    for name, program in (("segkit", f'{sys.executable} -m segkit "$@"'), ("python", f'{sys.executable} "$@"')):
        (programs / name).write_text(f"#!/bin/sh\nexec {program}\n")
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(
        ["bash", f"examples/{script}", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not here")
def test_the_pipeline_carries_data_only(tmp_path):
    lines = ran("pipelines/pipeline.sh", tmp_path).stdout.splitlines()
    assert float(lines.pop()) == pytest.approx(1.0)
    counts = [line.split("\t") for line in lines]
    assert {name for _, name in counts} == {"disc", "nut", "plate", "washer"}
    assert all(int(count) > 0 for count, _ in counts)


@pytest.mark.slow
def test_cells_are_counted_and_measured(tmp_path):
    ran("cells.sh", tmp_path, STEPS="3")
    tables = tmp_path / "cells-demo/predictions"
    assert (tables / "pictures.csv").read_text().count("\n") == 5, (
        "a row for each picture, also for those without cells"
    )
    assert "area" in (tables / "instances.csv").read_text().splitlines()[0]


@pytest.mark.slow
def test_pedestrians_are_learnt_from_masks(tmp_path):
    data = Path(os.environ.get("SEGKIT_SHARED_DATA", ROOT.parent / "shared/data")) / "pennfudan"
    if not data.is_dir():
        pytest.skip("no Penn-Fudan here")
    few = "--weights none --size 64 --backbone resnet18 --detections 5"
    ran("pedestrians.sh", tmp_path, data, STEPS="3", TRAIN=few)
    assert any((tmp_path / "pedestrians-demo/predictions/overlay").iterdir())


@pytest.mark.slow
def test_the_cells_of_the_notebook_run_in_a_row(tmp_path):
    """In one process, as a kernel runs them, with few steps; it is stored without what they print."""
    notebook = json.loads((ROOT / "examples/notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    assert "STEPS = 150" in code
    (tmp_path / "cells.py").write_text(code.replace("STEPS = 150", "STEPS = 3"))
    (tmp_path / "leak.py").symlink_to(ROOT / "examples/leak.py")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}", "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "loss.item()" in done.stdout
    assert "stesp: there is no such option; is steps meant?" in done.stdout
