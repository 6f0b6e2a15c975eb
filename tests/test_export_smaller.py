"""Files in 16 and 8 bits, simplified graphs, and what is measured of a file."""

import json
from pathlib import Path

import onnx
import pytest
from random_models import card_of, checkpoint

from segkit.config.export import ExportConfig
from segkit.errors import ConfigError, SegkitError
from segkit.exporting.score_check import ScorePair
from segkit.exporting.shrink import _candidates, _sensitive
from segkit.formats.coco.file import read_coco
from segkit.progress import SILENT
from segkit.runtimes.onnx_model import OnnxModel


@pytest.fixture
def source(here, dataset):
    """A U-Net with random weights and the categories of a dataset."""
    categories = read_coco(dataset / "train.json").categories
    return checkpoint(here / "m.pt", card_of("unet", categories=categories))


@pytest.mark.slow
def test_16_bits(segkit, here):
    path = checkpoint(here / "m.pt", card_of("maskrcnn"))
    assert segkit("export", path, "--out", "whole.onnx").code == 0
    outcome = segkit("export", path, "--half", "--tolerance", 0.1, "--json")  # its layers have large weights
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["precision"] == "fp16"
    assert max(each["scores"] for each in summary["differences"]) < 2e-2
    assert summary["bytes"] < 0.55 * (here / "whole.onnx").stat().st_size


@pytest.mark.slow
def test_8_bits_are_judged_by_score(segkit, here, dataset, source):
    assert segkit("export", source, "--out", "whole.onnx").code == 0
    outcome = segkit(
        "export", source, "--int8", "--calibrate", dataset, "--data", dataset, "--tolerance", 0.05, "--json"
    )
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["score"]["name"] == "mIoU"
    assert summary["score"]["source"] > 0
    assert abs(summary["score"]["source"] - summary["score"]["exported"]) < 0.05
    assert summary["bytes"] < 0.35 * (here / "whole.onnx").stat().st_size
    kinds = [node.op_type for node in onnx.load("model.onnx").graph.node]
    assert kinds.count("DequantizeLinear") > 20
    outcome = segkit("eval", "model.onnx", "--data", dataset, "--json")
    assert json.loads(outcome.out)["semantic"]["mIoU"] == pytest.approx(summary["score"]["exported"], abs=1e-9)
    assert sorted(path.name for path in here.glob("*.onnx") if path.is_file()) == ["model.onnx", "whole.onnx"]


@pytest.mark.slow
def test_a_file_that_scores_less_is_not_kept(segkit, here, dataset, source, monkeypatch):
    scores = iter([("mIoU", 0.5), ("mIoU", 0.4)])
    monkeypatch.setattr("segkit.exporting.export.score_of", lambda *everything: next(scores))
    outcome = segkit("export", source, "--data", dataset)
    assert outcome.code == 1
    assert "model.onnx: its mIoU is 0.4000, and that of the original 0.5000" in outcome.err
    assert "accept a loss of 0.1000 with --tolerance (now 0.001)" in outcome.err
    assert [path.name for path in here.iterdir()] == ["m.pt"]


@pytest.mark.parametrize("exported", [0.49, float("nan")])
def test_a_loss_beyond_the_tolerance_is_refused(exported):
    with pytest.raises(SegkitError, match="mask AP"):
        ScorePair("mask AP", 3, 0.5, exported).check(0.005, Path("m.onnx"))
    ScorePair("mask AP", 3, 0.5, 0.496).check(0.005, Path("m.onnx"))
    ScorePair("mask AP", 3, 0.5, 0.6).check(0.005, Path("m.onnx"))


LOSSES = {"b": 0.2, "c": 0.05, "a": 0.01, "d": 0.0, "e": 0.02}


@pytest.mark.parametrize(
    ("least", "left_out", "scorings"),
    [(0.6, "", 1), (0.63, "de", 2), (0.8, "b", 3), (0.86, "bc", 4), (0.875, "bcad", 5), (0.95, "bcad", 5)],
)
def test_the_parts_that_lose_most_are_left_out_in_few_scorings(least, left_out, scorings):
    scored = []

    def score(parts):
        scored.append(tuple(parts))
        return 0.9 - sum(loss for part, loss in LOSSES.items() if part not in parts)

    candidates = _candidates("deabc", lambda: list(LOSSES))
    assert _sensitive(score, candidates, least, SILENT) == (tuple(left_out), True)
    assert scored[-1] == tuple(left_out)  # the file that is there
    assert len(scored) == scorings


def test_where_no_set_of_parts_reaches_the_score_the_best_is_kept():
    scores = {0: 0.50, 1: 0.55, 2: 0.58, 4: 0.52, 8: 0.57}
    candidates = [tuple("abcdefgh"[:count]) for count in (1, 2, 4, 8)]
    kept = _sensitive(lambda left_out: scores[len(left_out)], candidates, 0.6, SILENT)
    assert kept == (("a", "b"), False)  # it was not scored last, so that it has to be written again


@pytest.mark.slow
def test_a_unet_has_nothing_for_dynamic_quantisation(segkit, here, dataset, source):
    outcome = segkit("export", source, "--int8", "--data", dataset)
    assert outcome.code == 1
    assert "--int8: the model has no fully connected layers" in outcome.err
    assert [path.name for path in here.iterdir()] == ["m.pt"]


@pytest.mark.slow
def test_dynamic_quantisation_of_a_detector(segkit, here, dataset):
    categories = read_coco(dataset / "train.json").categories
    path = checkpoint(here / "m.pt", card_of("fasterrcnn", categories=categories))
    assert segkit("export", path, "--out", "whole.onnx").code == 0
    outcome = segkit("export", path, "--int8", "--data", dataset, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["bytes"] < 0.7 * (here / "whole.onnx").stat().st_size


@pytest.mark.slow
def test_a_simplified_graph_has_fewer_nodes(segkit, here):
    pytest.importorskip("onnxslim")
    outcome = segkit("export", checkpoint(here / "m.pt", card_of("fasterrcnn")), "--simplify", "--json")
    assert outcome.code == 0, outcome.err
    before, after = json.loads(outcome.out)["nodes"]
    assert after < before
    assert len(onnx.load("model.onnx").graph.node) == after


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"int8": True, "half": True}, "choose one"),
        ({"int8": True, "format": "pt2"}, "--int8: is for ONNX files"),
        ({"simplify": True, "format": "openvino"}, "--simplify: is for ONNX files"),
        ({"exporter": "dynamo", "format": "pt2"}, "--exporter dynamo: is for ONNX files"),
        ({"exporter": "dynamo", "int8": True}, "--int8 and --exporter dynamo do not go together"),
        ({"exporter": "dynamo", "prune": 0.3, "given": frozenset({"exporter", "prune"})}, "--exporter has no effect"),
        ({"calibrate": Path("d")}, "no effect without --int8"),
        ({"bench": True, "half": True}, "--half has no effect"),
        ({"trust": True}, "no effect without --bench"),
    ],
)
def test_options_that_contradict_each_other(options, why):
    with pytest.raises(ConfigError, match=why):
        ExportConfig(**options)


@pytest.mark.slow
def test_a_file_is_measured(segkit, here, source):
    assert segkit("export", source).code == 0
    (note,) = OnnxModel(here / "model.onnx", "cuda").notes
    assert note == "warning: ONNX Runtime has no CUDA here: model.onnx runs on the CPU"
    files = {path.name for path in here.iterdir()}
    for model in ("model.onnx", "m.pt"):
        outcome = segkit("export", model, "--bench", "--json")
        assert outcome.code == 0, outcome.err
        summary = json.loads(outcome.out)
        assert {each["batch"] for each in summary["timings"]} == {1, 2, 4}
        assert all(0 < each["p50"] <= each["p95"] for each in summary["timings"])
        assert all(
            each["images_per_second"] == pytest.approx(1000 * each["batch"] / each["p50"])
            for each in summary["timings"]
        )
        assert summary["resident_bytes"] > 1 << 26
    assert {path.name for path in here.iterdir()} == files
