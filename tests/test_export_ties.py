"""An export is judged by probabilities: where two labels are equally probable, rounding decides the label."""

import json

import torch
from random_models import card_of, checkpoint

from segkit.export.compare import compare_maps
from segkit.models.unet import split_instances


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
