"""A file of scores says what it is of, and is not overwritten by the scores of something else."""

import json
import shutil
from hashlib import blake2b

import pytest
from random_models import card_of
from test_evaluate_together import CATEGORIES, annotation, dataset, result, run_of, write

IMAGE = {"id": 1, "file_name": "1.png", "height": 64, "width": 64}
QUICK = ("--device", "cpu", "--bootstrap", 0)


def test_scores_of_another_split_or_dataset_do_not_replace_those_of_the_run(segkit, tmp_path):
    data = dataset(tmp_path / "d1")
    other = dataset(tmp_path / "d2", half=True)
    (data / "test.json").write_bytes((other / "val.json").read_bytes())
    run = run_of(tmp_path / "run", data, card_of("unet"))
    places = {
        (): run, ("--split", "test"): run / "eval-test", ("--data", other): run / "eval-d2-val",
        ("--data", data, "--split", "test"): run / "eval-test", ("--data", data): run,
    }  # fmt: skip
    for options, folder in places.items():
        found = json.loads(segkit("eval", run, *options, *QUICK, "--json").out)
        assert json.loads((folder / "metrics.json").read_text()) == found
        assert found["about"]["data"]["annotations"] == (8 if folder == run else 4)
    about = json.loads((run / "metrics.json").read_text())["about"]
    assert about["data"]["split"] == "val"
    assert about["subject"]["file"] == str(run / "best.pt")
    assert about["subject"]["architecture"] == "unet"


def test_scores_of_another_model_file_do_not_replace_those_of_the_run(segkit, tmp_path):
    data = dataset(tmp_path / "d1")
    (data / "test.json").write_bytes((data / "val.json").read_bytes())
    run = run_of(tmp_path / "run", data, card_of("unet"))
    last = shutil.copy(run / "best.pt", run / "last.pt")
    alone = tmp_path / "elsewhere" / "model.pt"
    alone.parent.mkdir()
    shutil.copy(last, alone)
    assert segkit("export", run, "--out", run / "model.onnx").code == 0
    assert segkit("eval", run, *QUICK).code == 0
    own = (run / "metrics.json").read_bytes()
    places = {
        (last,): run / "eval-last", (last, "--split", "test"): run / "eval-last-test",
        (run / "model.onnx",): run / "eval-model.onnx", (alone, "--data", data): alone.parent / "eval-model",
        (alone, "--data", data, "--split", "test"): alone.parent / "eval-model-test",
    }  # fmt: skip
    for arguments, folder in places.items():
        found = json.loads(segkit("eval", *arguments, *QUICK, "--json").out)
        assert json.loads((folder / "metrics.json").read_text()) == found
        assert found["about"]["subject"]["file"] == str(arguments[0])
    assert (run / "metrics.json").read_bytes() == own
    (run / "best.pt").unlink()  # now the last checkpoint is what the run means
    assert segkit("eval", run, *QUICK).code == 0
    assert json.loads((run / "metrics.json").read_text())["about"]["subject"]["file"] == str(run / "last.pt")


@pytest.mark.parametrize("options", [(), ("--details",)])
def test_scores_of_results_say_what_they_are_of(segkit, tmp_path, options):
    data = write(
        tmp_path / "g.json",
        {"images": [IMAGE], "annotations": [annotation(1, 1, 1, 0, 0, 20)], "categories": CATEGORIES},
    )
    file = write(tmp_path / "d.json", [result(1, 1, 0.9, 0, 0, 20, 20)])
    outcome = segkit("eval", file, "--data", data, *options, "--max-dets", 200, "--out", tmp_path / "o", "--json")
    about = json.loads((tmp_path / "o" / "metrics.json").read_text())["about"]
    assert json.loads(outcome.out)["about"] == about
    digest = blake2b(data.read_bytes(), digest_size=16).hexdigest()
    assert about["data"] == {"file": str(data), "digest": digest, "split": None, "images": 1, "annotations": 1}
    assert about["subject"] == {"file": str(file), "digest": blake2b(file.read_bytes(), digest_size=16).hexdigest()}
    assert about["options"]["max_dets"] == "200"
    assert about["versions"]["segkit"]
    assert len(about["date"]) == 10


def test_the_report_says_what_it_is_of_and_can_be_quoted(segkit, tmp_path):
    data = write(
        tmp_path / "g.json",
        {"images": [IMAGE], "annotations": [annotation(1, 1, 1, 0, 0, 20)], "categories": CATEGORIES},
    )
    file = write(tmp_path / "d.json", [result(1, 1, 0.9, 0, 0, 20, 20)])
    assert segkit("eval", file, "--data", data, "--report", "--out", tmp_path / "o").code == 0
    page = (tmp_path / "o" / "report.html").read_text()
    assert "evaluated on 1 image with 1 annotated instance with segkit" in page
    assert "docs/scores.md" in page
    assert blake2b(data.read_bytes(), digest_size=16).hexdigest() in page


def test_a_split_beside_a_file_is_refused(segkit, tmp_path):
    data = write(tmp_path / "g.json", {"images": [IMAGE], "annotations": [], "categories": CATEGORIES})
    file = write(tmp_path / "d.json", [])
    outcome = segkit("eval", file, "--data", data, "--split", "test")
    assert outcome.code == 1
    assert f"error: --split test: --data {data} is a file, and is scored as it is" in outcome.err
    folder = segkit("eval", file, "--data", tmp_path, "--split", "g", "--compare", file)
    assert "--split" not in folder.err
