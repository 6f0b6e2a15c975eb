"""One contract for all models, and parity with torchvision's."""

import hashlib
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torchvision
from random_models import card_of
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.rpn import RPNHead

from segkit.choices import BackboneName, ModelName, NormName
from segkit.data.geometry import Framing
from segkit.data.masks import mask_to_rle
from segkit.data.records import Category, Image
from segkit.models.adapt import train_mode
from segkit.models.backbones import freeze_stem, make_body
from segkit.models.card import ModelCard
from segkit.models.detector_settings import DetectorSettings
from segkit.models.panoptic_settings import PanopticSettings
from segkit.models.tensors import prediction_to_results
from segkit.models.unet import split_instances
from segkit.models.weights import load_weights

MODELS = (*get_args(ModelName), "pointrend")
SIDES = {
    "maskrcnn": 28,
    "panoptic": 28,
    "pointrend": 56,
    "condinst": 56,
    "solov2": 56,
    "rfdetr": 56,
}  # of masks in their boxes
SMALL = DetectorSettings(proposals=50, rois=16, detections=20, anchor_sizes=(8, 16, 32, 64, 128))


# Digests of names, shapes and order of parameters, by model, backbone and norm, computed with version 0.1.0: a state
# dict needs the names, the state of an optimizer needs the order.
PARAMETERS = {
    "maskrcnn resnet18 batch": "9c5dd3d79b8f",
    "maskrcnn mobilenet_v3_large group": "2cc5515c0993",
    "fasterrcnn mobilenet_v2 batch": "86b442a87e0d",
    "unet resnet18 batch": "2f0491020f83",
    "unet mobilenet_v2 group": "a6274d1f2a9e",
}


def build(name="maskrcnn", backbone="resnet18", norm="batch", num_classes=3, settings=SMALL):
    torch.manual_seed(0)
    categories = tuple(Category(number, str(number)) for number in range(1, num_classes))
    framing = Framing("semantic" if name == "unet" else "instances", 64, 96)
    if name == "pointrend":
        name, settings = "maskrcnn", replace(settings, mask_head="pointrend", mask_size=56)
    if name == "rfdetr":
        return card_of(name, categories=categories).build()
    stuff = PanopticSettings((1,)) if name == "panoptic" else None
    card = ModelCard(name, backbone, norm, "ce+dice", settings, framing, categories, "background", panoptic=stuff)
    return card.build()


def batch(with_instances=True):
    g = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=g) for _ in range(2)]
    masks = torch.zeros(1, 64, 96, dtype=torch.uint8)
    masks[0, 10:40, 10:50] = 1
    semantic = masks[0].clone()
    semantic[:5] = 255
    full = {
        "boxes": torch.tensor([[10.0, 10, 50, 40]]),
        "labels": torch.tensor([2]),
        "masks": masks,
        "semantic": semantic,
    }
    empty = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 64, 96, dtype=torch.uint8),
        "semantic": torch.full((64, 96), 255, dtype=torch.uint8),
    }
    return images, [full if with_instances else empty, empty]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("with_instances", [True, False])
def test_losses_are_finite_and_give_gradients(name, with_instances):
    model = build(name).train()
    losses = model(*batch(with_instances))
    assert losses
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    learns = any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert learns == (with_instances or name != "unet")  # a detector learns from empty pictures too


@pytest.mark.parametrize("name", MODELS)
def test_predictions_follow_the_contract(name):
    model = build(name).eval()
    images = [
        torch.randint(0, 256, (3, 70, 45), dtype=torch.uint8),
        torch.zeros(3, 64, 96, dtype=torch.uint8),
    ]
    with torch.inference_mode():
        found = model(images)
    assert len(found) == 2
    for each, image in zip(found, images, strict=True):
        count = len(each["boxes"])
        assert each["boxes"].shape == (count, 4)
        assert each["labels"].dtype == torch.int64
        assert each["labels"].shape == each["scores"].shape == (count,)
        assert each["scores"].tolist() == sorted(each["scores"].tolist(), reverse=True)
        if name in SIDES:
            assert each["masks"].shape == (count, SIDES[name], SIDES[name])
        if name == "unet":
            assert each["semantic"].shape == image.shape[-2:]
            assert [c.shape for c in each["box_masks"]] == [
                (int(y2 - y1), int(x2 - x1)) for x1, y1, x2, y2 in each["boxes"].tolist()
            ]


REPRESENTATIVES = ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0", "convnext_tiny")
BACKBONES = [
    name if name in REPRESENTATIVES else pytest.param(name, marks=pytest.mark.slow)
    for name in get_args(BackboneName)
    if name != "dinov2"  # which has no maps of several strides: test_rfdetr.py
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_maps_of_every_backbone_have_their_strides_and_learn(backbone):
    torch.manual_seed(0)
    body, channels = make_body(backbone, "frozen")
    maps = body.train()(torch.randn(1, 3, 64, 96))
    first = 4 if backbone.startswith("convnext") else 2
    strides = (1, 2, 4, 8, 16) if backbone == "plain" else (2, 4, 8, 16, 32)
    assert list(maps) == [str(stride) for stride in strides if stride >= first]
    for stride, each in maps.items():
        width = channels[strides.index(int(stride))]
        assert each.shape == (1, width, 64 // int(stride), 96 // int(stride))
    sum(each.mean() for each in maps.values()).backward()
    assert all(parameter.grad is not None for parameter in body.parameters())
    freeze_stem(body)
    frozen = [not parameter.requires_grad for parameter in body.parameters()]
    assert 0 < sum(frozen) < len(frozen)
    assert frozen == sorted(frozen, reverse=True)  # from the beginning on


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", ["fasterrcnn", "unet"])
def test_every_backbone_builds(name, backbone):
    model = build(name, backbone).train()
    assert all(torch.isfinite(loss) for loss in model(*batch()).values())
    with torch.inference_mode():
        model.eval()([torch.zeros(3, 70, 45, dtype=torch.uint8)])


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_keep_their_names_shapes_and_order(name):
    model, backbone, norm = name.split()
    built = build(model, backbone, norm, settings=DetectorSettings())
    text = "\n".join(f"{key} {list(value.shape)}" for key, value in built.state_dict().items())
    text += "\n" + "\n".join(key for key, _ in built.named_parameters())
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == PARAMETERS[name]


@pytest.mark.parametrize("norm", get_args(NormName))
def test_every_norm_builds(norm):
    modules = list(build(norm=norm).backbone.body.modules())
    expected = {
        "batch": nn.BatchNorm2d, "sync": nn.SyncBatchNorm, "group": nn.GroupNorm,
        "frozen": torchvision.ops.FrozenBatchNorm2d,
    }[norm]  # fmt: skip
    assert any(isinstance(each, expected) for each in modules)


def torchvisions(name, heads, ours):
    """torchvision's detector of a version, with resnet18 and the weights of ours."""
    extractor = torchvision.models.resnet18(weights=None, norm_layer=torchvision.ops.FrozenBatchNorm2d)
    parts, layer = {}, None
    if heads == "v2":
        layer = nn.BatchNorm2d
        parts["rpn_head"] = RPNHead(256, 3, conv_depth=2)
        parts["box_head"] = FastRCNNConvFCHead((256, 7, 7), [256] * 4, [1024], norm_layer=layer)
        if name == "maskrcnn":
            parts["mask_head"] = MaskRCNNHeads(256, [256] * 4, 1, norm_layer=layer)
    theirs = (MaskRCNN if name == "maskrcnn" else FasterRCNN)(
        _resnet_fpn_extractor(extractor, 5, norm_layer=layer),
        num_classes=3,
        min_size=64,
        max_size=96,
        rpn_anchor_generator=ours.rpn.anchor_generator,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=25,
        box_detections_per_img=20,
        **parts,
    ).eval()
    given = ours.state_dict()
    counters = {k: v for k, v in theirs.state_dict().items() if k.endswith("num_batches_tracked") and k not in given}
    theirs.load_state_dict(given | counters)
    return theirs


@pytest.mark.parametrize("name", ["maskrcnn", "fasterrcnn"])
@pytest.mark.parametrize(("heads", "head_norm"), [("v1", None), ("v2", "batch"), ("v2", "frozen")])
def test_predictions_equal_those_of_torchvision(name, heads, head_norm):
    """Same weights, same image at the same size: predictions equal those of torchvision's model, v1 bit for bit."""
    ours = build(name, norm="frozen", settings=replace(SMALL, head_norm=head_norm)).eval()
    with torch.no_grad():
        random = torch.Generator().manual_seed(2)
        for layer in ours.modules():
            if hasattr(layer, "running_var"):
                layer.running_mean.copy_(torch.randn(layer.running_mean.shape, generator=random) / 10)
                layer.running_var.copy_(torch.rand(layer.running_var.shape, generator=random) + 0.5)
        ours.roi_heads.box_predictor.cls_score.weight[1:] *= -2.0
        ours.roi_heads.box_predictor.cls_score.weight[0] = 0  # else background could win everywhere
    theirs = torchvisions(name, heads, ours)
    picture = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        here, there = ours([picture])[0], theirs([picture.float() / 255])[0]
    assert len(here["boxes"]) > 3
    assert torch.equal(here["labels"], there["labels"])
    exactly = head_norm != "frozen"  # which torchvision's second version does not have
    for field in ("scores", "boxes"):
        assert torch.equal(here[field], there[field]) or (
            not exactly and torch.allclose(here[field], there[field], rtol=1e-4, atol=1e-3)
        )
    if name == "fasterrcnn":
        return
    record = Image(1, "p", 64, 96)
    results = prediction_to_results(here, record, 64, 96, (Category(1, "a"), Category(2, "b")), aligned_masks=False)
    pasted = there["masks"][:, 0] > 0.5
    if exactly:
        assert [r.segmentation for r in results] == [mask_to_rle(mask.numpy()) for mask in pasted]


@pytest.mark.parametrize("name", ["maskrcnn", "fasterrcnn"])
def test_boxes_are_fp32_under_autocast(name):
    """bf16 rounds coordinates beyond 512 to multiples of 4, which makes IoU even less accurate."""
    model = build(name).eval()
    picture = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = model([picture])[0]
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32
    assert all(anchors.dtype == torch.float32 for anchors in model.rpn.anchor_generator.cell_anchors)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.train()(*batch())
    assert all(loss.dtype == torch.float32 for loss in losses.values())


def test_frozen_layers_do_not_change():
    model = build("unet")
    model.body.requires_grad_(False)
    before = {name: value.clone() for name, value in model.body.state_dict().items()}
    train_mode(model)(*batch())
    assert all(torch.equal(value, before[name]) for name, value in model.body.state_dict().items())
    assert any(layer.training for layer in model.decoder)


def test_the_strides_do_not_depend_on_the_first_image():
    """torchvision derives the strides of the pyramid from the first image; segkit sets them."""
    model = build().eval()
    with torch.inference_mode():
        model([torch.zeros(3, 40, 40, dtype=torch.uint8)])
    assert model.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def test_our_roi_align_equals_that_of_torchvision():
    """The same values and gradients, within the precision of bf16."""
    torch.manual_seed(0)
    pool = build().roi_heads.box_roi_pool
    names = [name for name in pool.featmap_names if name != "pool"]
    maps = {name: torch.rand(2, 8, 64 // 2**k, 96 // 2**k) for k, name in enumerate(names)}
    boxes = [torch.rand(20, 2, 2) * torch.tensor([384.0, 256.0]) - 10 for _ in range(2)]
    boxes = [torch.cat([b.amin(1), b.amax(1) + 0.5], dim=1) for b in boxes]
    outcomes = []
    for dtype in (torch.float32, torch.bfloat16):
        some = {name: value.to(torch.bfloat16).to(dtype).requires_grad_() for name, value in maps.items()}
        regions = pool.train()(some, boxes, [(256, 384)] * 2)
        (regions.float() ** 2).sum().backward()
        outcomes.append(
            [
                regions.float(),
                *(v.grad.float() if v.grad is not None else torch.zeros(1) for v in some.values()),
            ]
        )
    for exact, short in zip(*outcomes, strict=True):
        assert (exact - short).abs().max() <= 0.02 * exact.abs().max()


def test_a_checkpoint_can_be_used_as_weights(tmp_path):
    torch.save({"model": build().state_dict()}, tmp_path / "w.pt")
    assert "start at random" in load_weights(build(num_classes=5), str(tmp_path / "w.pt"), "maskrcnn", "resnet18").text


def test_two_squares_are_two_instances():
    logits = torch.zeros(3, 40, 60)
    logits[0] = 1
    logits[2, 5:15, 5:15] = 8
    logits[1, 5:25, 30:50] = 5
    found = split_instances(logits.softmax(0))
    assert found["boxes"].tolist() == [[5, 5, 15, 15], [30, 5, 50, 25]]
    assert found["labels"].tolist() == [2, 1]
    assert [crop.sum() for crop in found["box_masks"]] == [100, 400]


def test_the_plain_encoder_is_that_of_the_paper():
    """Widths 64 to 1024, two convolutions of 3x3 at each of five scales; the decoder's are 512 to 64."""
    model = build("unet", "plain")
    convolutions = [layer for layer in model.body.modules() if isinstance(layer, nn.Conv2d)]
    widths = [64, 128, 256, 512, 1024]
    assert [layer.out_channels for layer in convolutions] == [width for width in widths for _ in range(2)]
    assert {layer.kernel_size for layer in convolutions} == {(3, 3)}
    last = [[layer for layer in block if isinstance(layer, nn.Conv2d)][-1] for block in model.decoder]
    assert [layer.out_channels for layer in last] == [512, 256, 128, 64]
    inputs = [next(layer for layer in block if isinstance(layer, nn.Conv2d)).in_channels for block in model.decoder]
    assert inputs == [1024 + 512, 512 + 256, 256 + 128, 128 + 64]


def test_the_plain_encoder_is_for_unets_alone(segkit, dataset):
    outcome = segkit("train", dataset, "--backbone", "plain")
    assert outcome.code == 1
    assert "error: --backbone plain is for --model unet" in outcome.err
    outcome = segkit("train", dataset, "--model", "unet", "--backbone", "plain", "--weights", "imagenet")
    assert outcome.code == 1
    assert "error: --weights imagenet: there are none for plain" in outcome.err
