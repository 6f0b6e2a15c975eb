"""Feature extractors: torchvision's ResNets and MobileNets as bodies that give maps at strides 2 to 32."""

from collections.abc import Callable
from typing import assert_never

import torchvision
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d

from segkit.choices import BackboneName, NormName

Norm = Callable[[int], nn.Module]

STRIDES = (2, 4, 8, 16, 32)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def make_norm(name: NormName) -> Norm:
    """The layer that a norm's name stands for, as a function of the number of channels."""
    match name:
        case "batch":
            return nn.BatchNorm2d
        case "sync":
            return nn.SyncBatchNorm
        case "group":
            return _group_norm
        case "frozen":
            frozen: Norm = FrozenBatchNorm2d
            return frozen
        case _:
            assert_never(name)


def _group_norm(channels: int) -> nn.Module:
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def make_body(name: BackboneName, norm: NormName) -> tuple[IntermediateLayerGetter, list[int]]:
    """A body with random weights, and the channels of its maps.

    Returns:
        A module that maps images [B, 3, H, W] to a dict of maps by stride ("2" to "32"), and the number of channels
        at every one of ``STRIDES``. Its parameter names are torchvision's, so that torchvision's weights load.
    """
    layer = make_norm(norm)
    match name:
        case "resnet18" | "resnet34" | "resnet50" | "resnet101":
            resnet = getattr(torchvision.models, name)(weights=None, norm_layer=layer)
            deep = resnet.fc.in_features
            stages = {"relu": "2", "layer1": "4", "layer2": "8", "layer3": "16", "layer4": "32"}
            return IntermediateLayerGetter(resnet, stages), [64, deep // 8, deep // 4, deep // 2, deep]
        case "mobilenet_v2":
            features = torchvision.models.mobilenet_v2(weights=None, norm_layer=layer).features
            stages = {"1": "2", "3": "4", "6": "8", "13": "16", "18": "32"}
            return IntermediateLayerGetter(features, stages), [16, 24, 32, 96, 1280]
        case "mobilenet_v3_large":
            features = torchvision.models.mobilenet_v3_large(weights=None, norm_layer=layer).features
            stages = {"1": "2", "3": "4", "6": "8", "12": "16", "16": "32"}
            return IntermediateLayerGetter(features, stages), [16, 24, 40, 112, 960]
        case _:
            assert_never(name)


def freeze_stem(body: nn.Module) -> None:
    """Keep the first two stages (strides 2 and 4), whose features hardly differ between data sets."""
    names = [name for name, _ in body.named_children()]
    last = max(index for index, name in enumerate(names) if name in ("layer1", "3"))
    for name in names[: last + 1]:
        getattr(body, name).requires_grad_(False)
