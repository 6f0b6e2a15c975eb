"""A model that is made ready for predictions on a CPU answers as before, but for rounding."""

import copy
from typing import get_args

import pytest
import torch
from random_models import SETTINGS, card_of, checkpoint, sharp
from test_batch_independence import ALL, assert_alike, picture, predicted
from torch import nn
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from segkit.choices import BackboneName
from segkit.inference.model import load
from segkit.models import on_cpu
from segkit.models.backbones import make_body
from segkit.models.on_cpu import ShortConv2d, prepare
from segkit.models.roi_align import PyramidRoIAlign
from segkit.runtime.torch_private import short_convolution

SOME = [("maskrcnn", "batch"), ("unet", "frozen")]
EVERY = [*(each for each in ALL if each[0] != "rfdetr"), ("second version", "batch"), ("second version", "frozen")]
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def with_statistics(module):
    """Norms that do something: random statistics and factors."""
    generator = torch.Generator().manual_seed(0)
    for norm in (each for each in module.modules() if isinstance(each, NORMS)):
        with torch.no_grad():
            for values, low, high in (
                (norm.running_mean, -0.2, 0.2), (norm.running_var, 0.5, 2.0),
                (norm.weight, 0.5, 1.5), (norm.bias, -0.2, 0.2),
            ):  # fmt: skip
                values.copy_(low + (high - low) * torch.rand(values.shape, generator=generator))
    return module


@pytest.fixture
def always_short(monkeypatch):
    """Small maps are computed with fewer products, too."""
    monkeypatch.setattr(on_cpu, "_LARGE", 64)
    monkeypatch.setattr(on_cpu, "_MANY", 128)


def check(kind):
    module = with_statistics(sharp(card_of(*kind)))
    images = [picture(number, size) for number, size in enumerate([(64, 96), (33, 70), (96, 40)])]
    before = predicted(module, images, 1)
    prepare(module)
    after = predicted(module, images, 1)
    assert sum(len(each["scores"]) for each in before) > 0
    assert_alike(images, before, after)
    assert_alike(images, before, predicted(module, images, 3))


@pytest.mark.parametrize("kind", SOME, ids="-".join)
def test_a_prepared_model_answers_as_before(kind, always_short):
    check(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY, ids="-".join)
def test_every_prepared_model_answers_as_before(kind, always_short):
    check(kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(get_args(BackboneName)) - {"dinov2"}))
@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_norms_are_folded_into_the_convolutions_before_them(name, norm):
    torch.manual_seed(0)
    body = with_statistics(make_body(name, norm)[0]).eval()
    prepared = copy.deepcopy(body)
    prepare(prepared)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        before, after = body(image), prepared(image)
    left = [each for each in prepared.modules() if isinstance(each, NORMS)]
    assert not left or name.startswith("convnext")
    for stride, values in before.items():
        assert (after[stride] - values).abs().max() <= 1e-4 * values.abs().max()


def test_regions_are_those_of_torchvision():
    torch.manual_seed(0)
    maps = {str(n): torch.randn(2, 5, 64 >> n, 96 >> n) for n in range(4)}
    corner = torch.rand(2, 40, 2) * torch.tensor([420.0, 280.0]) - 20
    boxes = list(torch.cat([corner, corner + torch.rand(2, 40, 2) ** 3 * 300], dim=2))  # some reach beyond the image
    boxes[1] = torch.cat([boxes[1], torch.tensor([[3.0, 4.0, 3.0, 4.0], [0.0, 0.0, 384.0, 256.0]])])
    theirs = MultiScaleRoIAlign(list(maps), 7, 2)
    ours = PyramidRoIAlign(7).eval()
    ours.by_rows = True
    shapes = [(256, 384)] * 2
    expected = theirs(maps, boxes, shapes)
    assert torch.allclose(ours(maps, boxes, shapes), expected, atol=1e-4)  # positions are rounded otherwise
    ours.rows_first = True
    assert torch.allclose(
        ours(maps, boxes, shapes).transpose(1, 2).reshape(expected.shape), expected, atol=1e-4
    )  # positions are rounded otherwise
    assert ours(maps, [each[:0] for each in boxes], shapes).shape == (0, 49, 5)


@pytest.mark.skipif(short_convolution() is None, reason="this torch has no NNPACK on this processor")
def test_an_image_of_a_batch_has_the_values_that_it_has_alone():
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 48, 3, padding=1)
    short, images = ShortConv2d(layer, short_convolution()), torch.randn(3, 32, 50, 61)
    with torch.inference_mode():
        together, plain = short(images), layer(images)
        assert torch.equal(together, torch.cat([short(each[None]) for each in images]))
    assert not torch.equal(together, plain)  # it is computed otherwise
    assert torch.allclose(together, plain, atol=1e-4)


def test_a_convolution_that_is_declined_is_computed_as_usual():
    def declines(*arguments):
        raise RuntimeError("NNPACK SpatialConvolution_updateOutput failed")

    layer, image = nn.Conv2d(32, 32, 3, padding=1), torch.randn(1, 32, 50, 61)
    with torch.inference_mode():
        assert torch.equal(ShortConv2d(layer, declines)(image), layer(image))


def test_a_model_is_prepared_on_a_cpu_without_nnpack(tmp_path, monkeypatch):
    monkeypatch.setattr(on_cpu, "short_convolution", lambda: None)
    module = load(checkpoint(tmp_path / "m.pt", card_of("maskrcnn", settings=SETTINGS)), "cpu").predict
    assert not any(isinstance(each, (*NORMS, ShortConv2d)) for each in module.modules())
    images = [picture(1, (64, 96))]
    assert_alike(images, predicted(sharp(card_of("maskrcnn")), images, 1), predicted(module, images, 1))
