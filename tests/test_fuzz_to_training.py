"""For any folder of YOLO, VOC, VIA, idmask and semantic files: what convert writes is trained on and scored, or named.

More examples: SEGKIT_FUZZ=200 pytest -m slow tests/test_fuzz_to_training.py
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_convert_fuzz_formats import FOLDERS, mutated

from segkit.cli import main

EXAMPLES = int(os.environ.get("SEGKIT_FUZZ", "10"))
KINDS = ("yolo", "voc", "via", "idmask", "semantic")
DONE, FAILED = 0, 1


def through(files, kind, model):
    """Exit codes of convert, train and eval, as far as they come; a traceback is an exception here."""
    folder = Path(tempfile.mkdtemp())
    try:
        for name, content in files.items():
            (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "in" / name).write_bytes(content)
        data, runs = str(folder / "data"), str(folder / "runs")
        codes = [main(["convert", str(folder / "in"), "--from", kind, "--out", data, "--val", "0", "-q"])]
        if codes[-1] == DONE:
            report = json.loads((folder / "data/report.json").read_text(encoding="utf-8"))
            assert report["shapes"] == report["converted"] + report["lost"] + report["dropped"]
            train = ["train", data, "--model", model, "--backbone", "resnet18", "--weights", "none", "--size", "32"]
            train += ["--steps", "2", "--batch", "2", "--device", "cpu", "--workers", "0", "--out", runs, "-q"]
            codes.append(main(train))
        if codes[-1] == DONE and len(codes) == 2:
            split = "train" if (folder / "data/train.json").exists() else "val"
            codes.append(main(["eval", f"{runs}/latest", "--data", data, "--split", split, "--json"]))
        assert set(codes) <= {DONE, FAILED}
        return codes
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_are_converted_trained_on_and_scored(kind):
    model = "fasterrcnn" if kind == "yolo" else "unet"  # its example has boxes without masks
    assert through(FOLDERS[kind], kind, model) == [DONE, DONE, DONE]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_folder_is_trained_on_and_scored_or_named(kind, data):
    model = data.draw(st.sampled_from(["unet", "unet", "maskrcnn", "fasterrcnn"]))
    through(data.draw(mutated(FOLDERS[kind])), kind, model)
