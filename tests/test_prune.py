"""Pruned models: fewer channels for real, and a checkpoint that every command takes."""

import json
from dataclasses import replace

import pytest
import torch
from random_models import card_of, checkpoint, sharp

from segkit.errors import InputError
from segkit.exporting.channels import without_channels
from segkit.exporting.sparsity import without_weights
from segkit.models.card import ModelCard
from segkit.models.sizes import Width
from segkit.models.widths import narrow, widths_of
from segkit.runs.checkpoint import load_model, save_checkpoint

IMAGE = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))]
CPU = torch.device("cpu")


def size(model):
    return sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize(
    ("name", "norm", "backbone"),
    [
        ("unet", "batch", "efficientnet_lite0"),
        ("maskrcnn", "frozen", "resnet18"),
        pytest.param("fasterrcnn", "batch", "mobilenet_v3_large", marks=pytest.mark.slow),
        pytest.param("second version", "batch", "resnet18", marks=pytest.mark.slow),
        pytest.param("pointrend", "batch", "resnet18", marks=pytest.mark.slow),
        pytest.param("unet", "frozen", "plain", marks=pytest.mark.slow),
        pytest.param("unet", "batch", "efficientnet_b0", marks=pytest.mark.slow),
        pytest.param("unet", "batch", "resnet50", marks=pytest.mark.slow),
    ],
)
def test_a_pruned_model_is_smaller_and_is_built_from_its_card(name, norm, backbone, tmp_path):
    card = replace(card_of(name, norm), backbone=backbone)
    model = card.build().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    smaller, own = without_channels(model, card, 0.4)
    assert 0.3 < size(smaller) / size(model) < 0.7
    assert replace(own, widths=()) == card
    assert all(width.outputs % 8 == 0 for width in own.widths)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    save_checkpoint(tmp_path / "p.pt", {"card": own.to_plain(), "model": smaller.state_dict()})
    loaded, read = load_model(tmp_path / "p.pt", CPU)
    assert read == own
    with torch.inference_mode():
        one, other = smaller(IMAGE)[0], loaded(IMAGE)[0]
    assert torch.equal(one["scores"], other["scores"])
    again, smallest = without_channels(loaded, own, 0.4)
    assert size(again) < size(smaller)
    assert {width.layer for width in own.widths} <= {width.layer for width in smallest.widths}


def test_the_channels_with_small_weights_go():
    card = card_of("unet", "batch")
    model = card.build()
    first = model.decoder[-1][0]
    with torch.no_grad():
        first.weight[1::2] *= 1e-3
        model.decoder[-1][3].weight[:, 1::2] *= 1e-3
        model.decoder[-1][1].weight[1::2] *= 1e-3
    smaller, _ = without_channels(model.eval(), card, 0.5)
    left = smaller.decoder[-1][0].weight
    assert len(left) == len(first.weight) // 2
    assert left.flatten(1).norm(dim=1).min() > 0.1 * left.flatten(1).norm(dim=1).max()


def test_a_card_of_a_whole_model_is_as_it_was():
    plain = card_of("unet").to_plain()
    assert not {"widths", "sparse"} & plain.keys()
    assert ModelCard.from_plain(plain).widths == ()


@pytest.mark.parametrize(
    "widths",
    [
        [["decoder.0.0", 1000000, 0]], [["decoder.0.0", -4, 0]], [["nowhere", 4, 4]], [["body", 4, 4]],
        [["decoder.0.0", 4, "a"]], [["decoder.0.0"]], "wide", [["decoder.0.0", 8, 0]],
    ],
)  # fmt: skip
def test_widths_that_no_model_has_are_refused(widths, tmp_path):
    card = card_of("unet")
    path = checkpoint(tmp_path / "m.pt", card)
    save_checkpoint(path, {"card": card.to_plain() | {"widths": widths}, "model": sharp(card).state_dict()})
    with pytest.raises(
        InputError, match=r"m.pt: its (model card cannot be read|tensors are not those of its model card)"
    ):
        load_model(path, CPU)


def test_widths_of_a_layer_that_is_not_narrower_are_left_out():
    card = card_of("unet")
    narrowed, whole = card.build(), card.build()
    assert widths_of(narrowed, whole) == ()
    narrow(narrowed, [Width("decoder.0.0", 7, 0), Width("decoder.0.1", 7, 0), Width("decoder.0.3", 0, 7)])
    assert widths_of(narrowed, whole) == (
        Width("decoder.0.0", 7, 0), Width("decoder.0.1", 7, 0), Width("decoder.0.3", 0, 7),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (card_of("condinst"), "--prune: is not for a condinst"),
        (card_of("unet", "group"), "--prune: is not for group norms"),
        (replace(card_of("unet"), backbone="convnext_tiny"), "--prune: is not for convnext_tiny"),
    ],
)
def test_what_cannot_be_pruned_is_refused(card, message):
    with pytest.raises(InputError, match=message):
        without_channels(torch.nn.Identity(), card, 0.3)


def test_a_pruned_model_goes_through_every_command(dataset, here, segkit):
    checkpoint(here / "whole.pt", replace(card_of("unet"), backbone="mobilenet_v3_large"))
    outcome = segkit("export", "whole.pt", "--prune", 0.5, "--out", "small.pt", "--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert said["after"]["flops"] < 0.6 * said["before"]["flops"]
    assert "train it a little more before you use it: segkit train DATASET --weights small.pt" in outcome.err
    options = ("--model", "unet", "--size", 64, "--batch", 2, "--device", "cpu")
    outcome = segkit("train", dataset, "--weights", "small.pt", *options, "--steps", 1)
    assert outcome.code == 0, outcome.err
    assert segkit("train", "--resume", "--steps", 2).code == 0
    module, card = load_model(here / "runs/latest/last.pt", CPU)
    assert card.widths == load_model(here / "small.pt", CPU)[1].widths
    assert size(module) < 0.7 * said["before"]["parameters"]
    assert segkit("predict", dataset / "images").code == 0
    outcome = segkit("export")
    assert outcome.code == 0, outcome.err
    outcome = segkit("train", dataset, "--weights", "small.pt", *options, "--steps", 1, "--instances", "distance")
    assert outcome.code == 1
    assert "small.pt: was pruned, and the run asks for other layers than it has (distance.bias)" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--half",), "--prune writes a checkpoint: --half has no effect"),
        (("--format", "openvino"), "--prune writes a checkpoint: --format has no effect"),
        (("--bench",), "--bench writes nothing: --prune has no effect"),
        (("--out", "a.onnx"), "--out a.onnx: a pruned model is a checkpoint"),
        (("--out", "whole.pt"), "--out whole.pt: is the model itself"),
    ],
)
def test_options_that_mean_nothing_to_a_pruned_model_are_refused(options, message, here, segkit):
    checkpoint(here / "whole.pt", card_of("unet"))
    outcome = segkit("export", "whole.pt", "--prune", 0.3, *options)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: {message}")
    assert sorted(path.name for path in here.iterdir()) == ["whole.pt"]


@pytest.mark.parametrize("name", ["unet", "condinst"])
def test_the_smallest_weights_become_zero_wherever_they_are(name):
    card = card_of(name, "group")
    model = card.build().eval()
    sparse, own = without_weights(model, card, 0.6)
    assert own == replace(card, sparse=True)
    assert ModelCard.from_plain(own.to_plain()) == own
    layers = [layer.weight for layer in sparse.modules() if isinstance(layer, torch.nn.Conv2d)]
    weights = torch.cat([each.flatten() for each in layers])
    before = torch.cat([layer.weight.flatten() for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)])
    gone = weights == 0
    assert gone.float().mean() == pytest.approx(0.6, abs=1e-3)
    assert before[gone].abs().max() <= before[~gone].abs().min()
    assert torch.equal(before[~gone], weights[~gone])
    with pytest.raises(InputError, match=r"--prune 0\.5: 60% of the weights are zero already"):
        without_weights(sparse, own, 0.5)


@pytest.mark.parametrize("options", [("--optimizer", "adamw"), ("--optimizer", "sgd", "--ema", 0.9, "--workers", 0)])
def test_weights_that_were_pruned_stay_zero_in_training(options, dataset, here, segkit):
    checkpoint(here / "whole.pt", replace(card_of("unet"), backbone="mobilenet_v3_small"))
    outcome = segkit("export", "whole.pt", "--prune", 0.7, "--unstructured", "--out", "sparse.pt", "--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert said["after"]["parameters"] == said["before"]["parameters"]
    assert said["after"]["zeros"] / said["after"]["parameters"] == pytest.approx(0.7, abs=0.02)
    assert "neither size nor latency falls on a CPU" in outcome.err
    more = ("--model", "unet", "--size", 64, "--batch", 2, "--device", "cpu", *options)
    assert segkit("train", dataset, "--weights", "sparse.pt", *more, "--steps", 2).code == 0
    assert segkit("train", "--resume", "--steps", 4).code == 0
    before, own = load_model(here / "sparse.pt", CPU)
    for file in ("last.pt", "best.pt"):
        after, card = load_model(here / "runs/latest" / file, CPU)
        assert own.sparse
        assert card.sparse
        learnt = 0
        for (name, one), (_, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
            if one.dim() > 1 and not name.startswith("head"):  # it starts anew where the categories are others
                assert torch.equal(one == 0, other == 0), name
                learnt += int((one != other).sum())
        assert learnt > 1000


def test_unstructured_pruning_needs_a_share(here, segkit):
    outcome = segkit("export", "--unstructured")
    assert outcome.code == 1
    assert outcome.err.startswith("error: --unstructured has no effect without --prune")
