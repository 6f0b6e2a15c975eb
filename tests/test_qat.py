"""Quantisation-aware training: a model that computes as its file in 8 bits does."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from random_models import card_of, checkpoint, sharp
from torchvision.ops import box_iou

from segkit.errors import ConfigError
from segkit.exporting.graphs import graph_of
from segkit.exporting.onnx import quiet, write_onnx
from segkit.models.card import ModelCard
from segkit.models.quantised import (
    QuantisedConv2d,
    QuantisedLinear,
    Rounding,
    measure_ranges,
    quantise_layers,
    sample_of,
)
from segkit.runs.checkpoint import load_checkpoint, load_model
from segkit.training.quantised_start import card_in_8_bits

CPU = torch.device("cpu")
SMALL = ("--size", 64, "--batch", 2, "--device", "cpu", "--precision", "fp32")


def images():
    noise = torch.rand(3, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, size=(64, 96), mode="bicubic").clamp(0, 1)
    return smooth.mul(255).to(torch.uint8)


def in_8_bits(card):
    """A model with random weights, whose ranges were measured on the images."""
    model = sharp(card)
    quantise_layers(model)
    with torch.inference_mode(), measure_ranges(model):
        model(list(images()))
    return model.eval(), replace(card, quantised=True)


def outputs_of_file(model, card, path):
    graph = graph_of(model, card)
    write_onnx(graph, {}, path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(graph.outputs, session.run(None, {"images": images().numpy()}), strict=True))


def test_a_file_in_8_bits_has_the_very_values_of_the_layers(tmp_path):
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(inplace=True),
        torch.nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=4), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(16 * 4 * 6, 5),
    ).eval()  # fmt: skip
    x = torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    quantise_layers(layers)
    with torch.no_grad():
        with measure_ranges(layers):
            whole = layers(x)
        expected = layers(x)
        with quiet():
            torch.onnx.export(layers, (x,), str(tmp_path / "m.onnx"), dynamo=False, opset_version=17)
    session = ort.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    error = np.abs(found - expected.numpy()).max()
    assert error < 0.1 * (expected - whole).abs().max()
    assert error < 1e-3


@pytest.mark.parametrize(
    ("name", "backbone", "norm"),
    [
        ("unet", "efficientnet_lite0", "batch"),
        pytest.param("unet", "resnet18", "frozen", marks=pytest.mark.slow),
        pytest.param("unet", "resnet50", "frozen", marks=pytest.mark.slow),
        pytest.param("unet", "mobilenet_v3_large", "batch", marks=pytest.mark.slow),
        pytest.param("fasterrcnn", "efficientnet_lite0", "batch", marks=pytest.mark.slow),
        pytest.param("second version", "resnet18", "frozen", marks=pytest.mark.slow),
    ],
)
def test_a_model_is_as_near_to_its_file_as_8_bits_allow(name, backbone, norm, tmp_path):
    """Sums that differ in the last bit are rounded apart, layer after layer, up to the error of 8 bits."""
    card = replace(card_of(name, norm), backbone=backbone)
    whole = sharp(card)
    model, card = in_8_bits(card)
    found = outputs_of_file(model, card, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < 0.4 * sum(4 * each.numel() for each in whole.parameters())
    with torch.inference_mode():
        if name == "unet":
            a, b = (torch.stack(each.maps(list(images()))) for each in (model, whole))
            c = torch.from_numpy(found["probabilities"])
            assert (a - b).abs().mean() > 0
            assert (a - c).abs().mean() < 1.5 * (a - b).abs().mean()
            assert (a.argmax(1) == c.argmax(1)).float().mean() > 0.95
            return
        expected = model(list(images()))
    same = total = 0
    for number, each in enumerate(expected):
        of_image = found["images_of"] == number
        boxes, labels = (torch.from_numpy(found[key][of_image]) for key in ("boxes", "labels"))
        for box, label in zip(each["boxes"], each["labels"], strict=True):
            same += bool(((box_iou(box[None], boxes)[0] > 0.9) & (labels == label)).any())
            total += 1
    assert total > 10
    assert same >= 0.7 * total  # the scores of these random weights change much with the last bits


def layers_of_file(model, graph, path):
    """Each quantised layer in the order in which it computes, with the inputs and outputs of its node in the file."""
    called = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: called.append(layer))
        for layer in model.modules()
        if isinstance(layer, QuantisedConv2d | QuantisedLinear)
    ]
    with torch.inference_mode():
        graph.module(images())
    for hook in hooks:
        hook.remove()
    file = onnx.load(str(path))
    nodes = [node for node in file.graph.node if node.op_type in ("Conv", "Gemm")]
    for name in dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0])):
        file.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    values = dict(zip(names, session.run(None, {"images": images().numpy()}), strict=True))
    assert len(nodes) == len(called) > 10
    return [(layer, values[node.input[0]], values[node.output[0]]) for layer, node in zip(called, nodes, strict=True)]


@pytest.mark.parametrize(
    ("name", "backbone", "norm"),
    [
        ("maskrcnn", "resnet18", "batch"),
        pytest.param("unet", "plain", "group", marks=pytest.mark.slow),
        pytest.param("fasterrcnn", "resnet50", "frozen", marks=pytest.mark.slow),
        pytest.param("second version", "mobilenet_v3_large", "batch", marks=pytest.mark.slow),
    ],
)
def test_each_layer_of_a_file_computes_what_the_model_computes_of_the_same_input(name, backbone, norm, tmp_path):
    """What whole networks cannot show: there a last bit is rounded apart, and each such step moves many others."""
    model, card = in_8_bits(replace(card_of(name, norm), backbone=backbone))
    graph = graph_of(model, card)
    write_onnx(graph, {}, tmp_path / "m.onnx")
    for layer, given, found in layers_of_file(model, graph, tmp_path / "m.onnx"):
        x = torch.from_numpy(given)
        with torch.inference_mode():
            assert torch.equal(layer.before(x), x)  # the file has rounded it to the same values
            expected = layer.compute(x, *layer.rounded())
        assert expected.shape == found.shape
        step = (expected.max() - expected.min()) / 255  # of 8 bits; a bias may be rounded apart by one of 32 bits
        assert (expected - torch.from_numpy(found)).abs().max() <= 0.1 * step


def test_gradients_pass_where_values_are_in_range():
    rounding = Rounding()
    rounding.seen = [sample_of(torch.tensor([-1.0, 3.0]))]
    rounding.fix()
    x = torch.tensor([-2.0, -1.0, 0.0, 0.013, 2.9, 4.0], requires_grad=True)
    y = rounding(x)
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]
    assert y[2] == 0
    assert (y[1:-1] - x[1:-1]).abs().max() <= 4 / 255 / 2 + 1e-6
    assert y[-1].item() == pytest.approx(3.0, abs=4 / 255)


def test_weights_have_at_most_127_values_a_channel_and_norms_are_folded():
    torch.manual_seed(0)
    parts = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8), torch.nn.ReLU()).eval()
    parts[1].running_mean.normal_()
    parts[1].running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 9, 9)
    whole = parts(x).detach()
    quantise_layers(parts)
    with torch.no_grad(), measure_ranges(parts):
        assert torch.allclose(parts(x), whole, atol=1e-5)
    assert isinstance(parts[0], QuantisedConv2d)
    weight, _ = parts[0].rounded()
    steps = (weight / parts[0].scales()[:, None, None, None]).detach()
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert steps.abs().amax((1, 2, 3)).round().tolist() == [63] * 8
    assert 0 < (parts(x) - whole).abs().max() < 0.05 * whole.max()


def test_a_card_of_another_model_is_as_it_was():
    assert "quantised" not in card_of("unet").to_plain()
    assert ModelCard.from_plain(replace(card_of("unet"), quantised=True).to_plain()).quantised


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A folder with the run of a small U-Net."""
    from segkit.config.train import TrainConfig
    from segkit.training.train import train

    folder = tmp_path_factory.mktemp("qat")
    train(TrainConfig(
        dataset=dataset, model="unet", backbone="mobilenet_v3_small", weights="none", size=64, batch=2, device="cpu",
        precision="fp32", steps=2, name="whole", out=folder / "runs", norm="batch",
    ))  # fmt: skip
    return folder / "runs"


def test_a_run_in_8_bits_goes_through_every_command(trained, dataset, here, segkit):
    outcome = segkit("train", "--qat", trained / "whole", "--steps", 4, "--name", "q", "--eval-every", 100)
    assert outcome.code == 0, outcome.err
    assert "with layers that compute as in 8 bits" in outcome.err
    once = load_checkpoint(here / "runs/q/last.pt")
    assert once["card"]["quantised"]
    before, _ = load_model(trained / "whole/last.pt", CPU)
    learnt, card = load_model(here / "runs/q/last.pt", CPU)
    assert card.quantised
    assert not torch.equal(before.head.weight, learnt.head.weight)
    outcome = segkit("export", "runs/q", "--int8", "--data", dataset, "--out", "q.onnx", "--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert said["precision"] == "int8"
    assert said["bytes"] < 0.4 * (trained / "whole/last.pt").stat().st_size
    assert abs(said["score"]["source"] - said["score"]["exported"]) < 0.02
    assert segkit("predict", dataset / "images", "--model", "q.onnx").code == 0


@pytest.fixture
def quantised(here, trained):
    """A checkpoint that computes as in 8 bits."""
    card = replace(card_of("unet"), quantised=True)
    return checkpoint(here / "q.pt", card)


def test_what_a_model_in_8_bits_is_not_for_is_refused(quantised, trained, dataset, segkit):
    for options, message in (
        (("export", quantised), "was trained to compute in 8 bits"),
        (("export", quantised, "--prune", 0.3), "computes as in 8 bits and cannot be pruned"),
        (("train", dataset, "--model", "unet", "--weights", quantised), "its layers compute as in 8 bits"),
        (("train", "--qat", trained / "whole", "--backbone", "resnet18"), "--backbone cannot be changed"),
    ):
        outcome = segkit(*options)
        assert outcome.code in (1, 2), options
        assert message in outcome.err, outcome.err


@pytest.mark.slow
def test_a_run_in_8_bits_is_measured_and_shared(trained, dataset, here, segkit):
    options = ("train", "--qat", trained / "whole", "--steps", 1, "--eval-every", 100)
    outcome = segkit(*options, "--name", "q", "--device", "cpu", "--ranks", 2)
    assert outcome.code == 0, outcome.err
    assert segkit("memprofile", "runs/q", "--fit", "--vram", "8GiB").code == 0
    outcome = segkit("train", "--qat", "runs/q")
    assert outcome.code == 1
    assert "computes as in 8 bits already" in outcome.err


@pytest.mark.slow
def test_a_run_in_8_bits_resumes_to_the_bit(trained, here, segkit):
    options = ("train", "--qat", trained / "whole", "--schedule", "constant", "--warmup", 0, "--eval-every", 100)
    assert segkit(*options, "--steps", 3, "--name", "once").code == 0
    assert segkit(*options, "--steps", 1, "--name", "twice").code == 0
    assert segkit("train", "--resume", "runs/twice", "--steps", 3).code == 0
    once, twice = (load_checkpoint(here / f"runs/{name}/last.pt")["model"] for name in ("once", "twice"))
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("name", ["condinst", "pointrend"])
def test_models_that_cannot_are_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=r"--qat: is not for (a )?(condinst|PointRend)"):
        card_in_8_bits(checkpoint(tmp_path / "m.pt", card_of(name)))
