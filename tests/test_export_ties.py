"""An export is judged by probabilities: where two labels are equally probable, rounding decides the label."""

import json

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from random_models import card_of, checkpoint, sharp
from torch import nn
from torchvision.models.detection.image_list import ImageList

from segkit.exporting.compare import compare, compare_maps
from segkit.exporting.conditioning import without_suppression
from segkit.exporting.detector_graph import pad
from segkit.exporting.graphs import Graph, graph_of
from segkit.exporting.onnx import write_onnx
from segkit.models.unet import split_instances
from segkit.runtimes.onnx_model import OnnxModel


def test_a_tie_that_splits_an_instance_is_no_difference():
    source = torch.full((2, 8, 17), 0.5)
    source[1] += 1e-7
    exported = source.clone()
    exported[0, :, 8] += 2e-7
    assert [len(split_instances(each)["boxes"]) for each in (source, exported)] == [1, 2]
    assert compare_maps("p", source, exported).within(1e-6)


def test_other_probabilities_are_a_difference_though_the_labels_are_the_same():
    source = torch.tensor([0.1, 0.9]).reshape(2, 1, 1).expand(2, 8, 8)
    exported = torch.tensor([0.2, 0.8]).reshape(2, 1, 1).expand(2, 8, 8)
    assert not compare_maps("p", source, exported).within(0.05)


def test_a_unet_with_many_ties_can_be_exported(segkit, here):
    outcome = segkit("export", checkpoint(here / "m.pt", card_of("unet", "group")), "--tolerance", 0.01, "--json")
    assert outcome.code == 0, outcome.err
    differences = json.loads(outcome.out)["differences"]
    assert max(each["masks"] for each in differences) < 0.01
    assert (here / "model.onnx").is_file()


@pytest.mark.parametrize(("name", "unjudged"), [("fasterrcnn", {"made-up blobs"}), ("unet", {"a plain grey picture"})])
def test_an_image_on_which_rounding_decides_does_not_refuse_a_model(segkit, here, name, unjudged):
    """Equal scores of boxes, and of regions, that suppress each other; norms over an image of one colour."""
    outcome = segkit("export", checkpoint(here / "m.pt", card_of(name, "group")), "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert {
        each.partition(",")[0] for each in found["unjudged"]
    } <= unjudged  # how large ONNX Runtime's error is depends on the processor
    assert len(found["differences"]) + len(found["unjudged"]) == 8  # five images, and three at once
    assert all((name in outcome.err) for name in found["unjudged"])


@pytest.mark.parametrize("name", ["fasterrcnn", "unet"])
def test_a_graph_with_a_fault_is_refused_though_rounding_decides_on_some_images(segkit, here, monkeypatch, name):
    run = OnnxModel.run

    def shifted(self, images):
        return run(self, np.roll(images, 2, -1))

    monkeypatch.setattr(OnnxModel, "run", shifted)
    outcome = segkit("export", checkpoint(here / "m.pt", card_of(name, "group")))
    assert outcome.code == 1
    assert "model.onnx: differs from" in outcome.err
    assert not (here / "model.onnx").exists()


def prediction(boxes, scores):
    return {
        "boxes": torch.tensor(boxes),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "scores": torch.tensor(scores),
    }


FAR = [60.0, 60.0, 90.0, 90.0]
ONE, OTHER = [0.0, 0.0, 20.0, 10.0], [0.0, 2.0, 20.0, 12.0]  # their IoU is two thirds


@pytest.mark.parametrize(
    ("exported", "candidates", "unmatched"),
    [
        (prediction([OTHER, FAR], [1.0, 0.9]), prediction([ONE, OTHER, FAR], [1.0, 1.0, 0.9]), 0),
        (prediction([OTHER, FAR], [1.0, 0.9]), prediction([ONE, FAR], [1.0, 0.9]), 2),  # the source does not find it
        (prediction([OTHER, FAR], [0.8, 0.9]), prediction([ONE, OTHER, FAR], [1.0, 0.8, 0.9]), 2),  # no tie
        (prediction([FAR], [0.9]), prediction([ONE, OTHER, FAR], [1.0, 1.0, 0.9]), 1),  # neither is left
        (prediction([[30.0, 0.0, 50.0, 10.0], FAR], [1.0, 0.9]),
         prediction([ONE, [30.0, 0.0, 50.0, 10.0], FAR], [1.0, 1.0, 0.9]), 2),  # no rivals
    ],
)  # fmt: skip
def test_of_two_boxes_with_equal_scores_either_may_be_left(exported, candidates, unmatched):
    image = torch.zeros(3, 100, 100)
    found = compare(
        "p", image, prediction([ONE, FAR], [1.0, 0.9]), exported, tolerance=1e-3, cap=20, candidates=candidates
    )
    assert found.unmatched == unmatched


def test_candidates_hold_what_suppression_leaves_out_and_the_model_stays_as_it_is():
    model = sharp(card_of("fasterrcnn", "group"))
    noise = torch.randint(256, (3, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.inference_mode():
        before = model([noise])[0]
    assert len(without_suppression(model, noise)["boxes"]) > len(before["boxes"])
    with torch.inference_mode():
        assert torch.equal(model([noise])[0]["boxes"], before["boxes"])


class Regions(nn.Module):
    """The regions of a detector in their order: of its graph, or of the model as it is traced."""

    def __init__(self, model, graph):
        super().__init__()
        self.model, self.graph = model, graph

    def forward(self, images):
        images = images if images.ndim == 4 else images[None]
        frame, size = pad(images.float() / 255), images.shape[-2:]
        features = self.model.backbone(frame)
        if self.graph is not None:
            return self.graph._proposals(list(features.values()), frame, *size)[0][0]
        return self.model.rpn(ImageList(frame, [tuple(size)]), features)[0][0]


@pytest.mark.parametrize("logits", [lambda x: x - 40 - x.shape[-1], lambda x: 0.02 * x - 13 - 1e-4 * x.shape[-1]])
@pytest.mark.parametrize("own_graph", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_regions_of_the_least_objectness_are_in_their_order(tmp_path, own_graph, logits):
    """ONNX Runtime's sigmoid is 0 for all logits below -18, and has coarse steps above.

    Coarse levels score more than fine ones, which come first where all are equal.
    """
    module = sharp(card := card_of("fasterrcnn"))
    module.rpn.head.cls_logits.register_forward_hook(lambda _, __, own: logits(own))
    regions = Regions(module, graph_of(module, card).module if own_graph else None).eval()
    given, free = ("images", {0: "b", 2: "h", 3: "w"}) if own_graph else ("image", {1: "h", 2: "w"})
    write_onnx(Graph(regions, given, ["regions"], {given: free}), {}, tmp_path / "m.onnx")
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 96, 128) if own_graph else (3, 96, 128), dtype=np.uint8)
    (found,) = InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"]).run(None, {given: images})
    with torch.inference_mode():
        assert np.allclose(found, regions(torch.from_numpy(images)), atol=0.01)
