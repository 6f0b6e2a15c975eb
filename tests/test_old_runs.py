"""Runs made by an older segkit still predict, score and resume, with the same numbers."""

import json
import tarfile

import pytest
from conftest import ROOT

FOLDER = ROOT / "tests" / "old_runs"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(params=sorted(EXPECTED))
def old_run(request, tmp_path, monkeypatch):
    """A folder with the dataset and one of the runs; the working folder."""
    with tarfile.open(FOLDER / "before_the_move.tar.xz") as archive:
        wanted = [m for m in archive if m.name.startswith(("dataset", f"runs/{request.param}"))]
        archive.extractall(tmp_path, wanted, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / request.param


def test_an_old_run_predicts_scores_and_resumes(segkit, old_run):
    expected = EXPECTED[old_run.name]

    assert segkit("predict", "dataset/images", "--model", old_run, "--score", 0.3, "--format", "coco").code == 0
    results = json.loads((old_run.parents[1] / "predictions" / "results.json").read_text())
    scores = sorted((result["score"] for result in results), reverse=True)
    assert scores[:8] == pytest.approx(expected["scores"], abs=2e-3)
    assert len(results) == pytest.approx(expected["num_results"], rel=0.05)

    document = json.loads(segkit("eval", old_run, "--json").out)
    assert document["segm"]["AP"] == pytest.approx(expected["AP"], abs=1e-3)
    assert document.get("semantic", {}).get("mIoU") == pytest.approx(expected["mIoU"], abs=1e-3)

    outcome = segkit("train", "--resume", old_run, "--steps", 5)
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in (old_run / "metrics.jsonl").read_text().splitlines()]
    losses = {str(line["step"]): line["loss"] for line in lines if line["kind"] == "step" and line["step"] > 3}
    assert losses == pytest.approx(expected["losses"], rel=2e-3)
