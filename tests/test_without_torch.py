"""``predict`` and ``eval`` of an ONNX file where PyTorch cannot be imported."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from random_models import card_of, sharp

from segkit.exporting.about import metadata_of
from segkit.exporting.graphs import graph_of
from segkit.exporting.onnx import write_onnx
from segkit.formats.coco.file import read_coco, read_results

WITHOUT_TORCH = """
import importlib.abc, json, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
from segkit.cli import main
codes = [main(arguments) for arguments in json.load(sys.stdin)]
sys.exit(json.dumps(codes))
"""


@pytest.mark.parametrize("name", ["unet", "maskrcnn", pytest.param("fasterrcnn", marks=pytest.mark.slow)])
def test_an_exported_file_predicts_and_is_evaluated_without_pytorch(segkit, dataset, here, name):
    """With the same results as in this process, where PyTorch is loaded."""
    card = card_of(name, categories=read_coco(dataset / "train.json").categories)
    graph = graph_of(sharp(card), card)
    write_onnx(graph, metadata_of(here / "m.pt", card, graph, "fp32"), here / "m.onnx")
    kinds = "overlay,coco,csv,labelme" + {"unet": ",idmask,classmap", "maskrcnn": ",idmask"}.get(name, "")

    def commands(out):
        predict = ["predict", dataset / "images", "--model", "m.onnx", "--score", 0.06, "--format", kinds, "--out"]
        return [
            [*predict, out / "whole"],
            [*predict, out / "tiles", "--tile", 48],
            [*predict, out / "views", "--tta", "flips"],
            ["eval", "m.onnx", "--data", dataset, "--details", "--out", out / "scores", "--workers", 1],
        ]

    assert [segkit(*each).code for each in commands(here / "with")] == [0] * 4
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], text=True, capture_output=True,
        input=json.dumps([[str(word) for word in each] for each in commands(here / "without")]),
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[0, 0, 1, 0]", done.stderr
    assert "error: --tta: the mean over views is computed with PyTorch, which is not installed here" in done.stderr
    for kind in ("whole", "tiles"):
        results, there = (read_results(here / road / kind / "results.json") for road in ("with", "without"))
        assert len(results) == len(there) > 10
        for one, other in zip(results, there, strict=True):
            assert (one.image_id, one.category_id) == (other.image_id, other.category_id)
            assert one.segmentation == other.segmentation
            assert other.bbox == pytest.approx(one.bbox, abs=1e-3)
            assert other.score == pytest.approx(one.score, abs=1e-6)
        for path in (here / "with" / kind).glob("classmap/*.png"):
            maps = [cv2.imread(str(here / road / kind / "classmap" / path.name), -1) for road in ("with", "without")]
            assert len(np.unique(maps[0])) > 1
            assert (maps[0] == maps[1]).all()
    scores = [json.loads((here / road / "scores/metrics.json").read_text()) for road in ("with", "without")]
    for each in scores:
        del each["about"]
    assert scores[0] == scores[1]
