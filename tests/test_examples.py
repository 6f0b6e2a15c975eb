"""The examples run as they are printed, with few steps, up to LabelMe's window."""

import json
import os
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
        assert all(name in done.stdout for name in named)
        with pytest.raises(subprocess.TimeoutExpired):  # the window stays open: LabelMe could read what is there
            subprocess.run([labelme_program(), str(folder / "second")], env=offscreen, timeout=20, check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
