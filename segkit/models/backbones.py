"""Feature extractors: torchvision's classifiers, EfficientNet-Lite and the U-Net's own, which return maps by stride."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, assert_never

import torch
import torch.distributed as dist
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segkit.choices import BackboneName, NormName
from segkit.models.efficientnet_lite import EfficientNetLite
from segkit.models.frozen_norm import FrozenNorm, fold_norms
from segkit.models.input_channels import IMAGENET_MEAN, IMAGENET_STD, statistics
from segkit.models.plain_encoder import WIDTHS, PlainEncoder
from segkit.models.sizes import DEFAULT_EPS, STRIDES

Norm = Callable[..., nn.Module]

_STRIDES_OF_PLAIN = (1, 2, 4, 8, 16)
EPS: dict[BackboneName, float] = {
    "mobilenet_v3_small": 1e-3, "mobilenet_v3_large": 1e-3, "efficientnet_lite0": 1e-3, "efficientnet_lite2": 1e-3,
}  # fmt: skip
"""What the norms of classifiers add to variances, where it is not ``DEFAULT_EPS``."""

MEAN, STD = IMAGENET_MEAN, IMAGENET_STD
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def _group_norm(channels: int, eps: float = DEFAULT_EPS) -> nn.Module:
    return nn.GroupNorm(math.gcd(32, channels), channels, eps)


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, and maps with a single value per channel, of which torch raises ``ValueError`` in training.

    They occur where one small image at a time goes through the model, and its deepest map is 1x1. They are normalised
    with the running statistics, as in evaluation, and do not change them.

    Attributes:
        met_one_value: Whether there was such a map.
    """

    met_one_value = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, H, W]."""
        if self.training and input.numel() == input.shape[1]:
            return _by_running_statistics(self, input)
        return super().forward(input)


class SyncBatchNorm(nn.SyncBatchNorm):
    """torch's, and maps with a single value per channel over all ranks (``BatchNorm2d``)."""

    met_one_value = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, H, W]."""
        alone = not dist.is_initialized() or dist.get_world_size() == 1
        if self.training and alone and input.numel() == input.shape[1]:
            return _by_running_statistics(self, input)
        return super().forward(input)


def _by_running_statistics(layer: BatchNorm2d | SyncBatchNorm, x: Tensor) -> Tensor:
    layer.met_one_value = True
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)  # as every forward pass in training
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)


NORMS: dict[NormName, Norm] = {
    "batch": BatchNorm2d,
    "sync": SyncBatchNorm,
    "group": _group_norm,
    "frozen": FrozenNorm,
}
"""Normalisation layers, as functions of the number of channels."""


def met_one_value(module: nn.Module) -> bool:
    """Whether a batch norm met a map with a single value per channel in training, and used its running statistics."""
    return any(isinstance(each, BatchNorm2d | SyncBatchNorm) and each.met_one_value for each in module.modules())


def updated_norms(module: nn.Module) -> list[BatchNorm]:
    """The batch norms whose statistics a forward pass updates."""
    return [m for m in module.modules() if isinstance(m, BatchNorm) and m.training and m.track_running_stats]


def normalise(image: Tensor) -> Tensor:
    """An image [C, H, W] of bytes, as torchvision's weights expect it."""
    mean, std = (_of_channels(each, image.device) for each in statistics(len(image)))
    return (image.float() / 255 - mean) / std


def _of_channels(values: Sequence[float], device: torch.device) -> Tensor:
    """Constants [C, 1, 1]; they are filled in on the device, as the host would wait for a copy."""
    return torch.stack([torch.full((1, 1), value, device=device) for value in values])


class Body(nn.ModuleDict):
    """The first children of a network, as a feature extractor that returns the output of some of them.

    Parameter names are the network's, so that its pretrained weights load.

    Attributes:
        recompute: Keep no activations inside the children in training; backward computes them again. A third more
            work for a fraction of the memory (Chen et al. 2016, https://arxiv.org/abs/1604.06174).
    """

    recompute = False

    def __init__(self, network: nn.Module, stride_of: dict[str, str], known: dict[str, str]) -> None:
        """Take the children of a network up to the last one that is named.

        Args:
            network: A network whose children are applied one after the other.
            stride_of: The stride of the maps to return, by the name of the child that makes them.
            known: The same of all maps that the network makes.
        """
        children = dict(network.named_children())
        last = max(list(children).index(name.partition(".")[0]) for name in stride_of)
        super().__init__(dict(list(children.items())[: last + 1]))
        self._stride_of, self._known = stride_of, known

    def stages(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that are applied one after the other."""
        for name, child in self.items():
            if isinstance(child, nn.ModuleList):  # which has no forward of its own
                yield from ((f"{name}.{number}", part) for number, part in enumerate(child))
            else:
                yield name, child

    def up_to_stride(self, stride: int) -> list[nn.Module]:
        """The stages up to the one whose maps have a stride."""
        names = [name for name, _ in self.stages()]
        last = next(name for name, given in self._known.items() if given == str(stride))
        return [stage for _, stage in self.stages()][: names.index(last) + 1]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by stride of normalised images [B, 3, H, W]."""
        maps, x = {}, images
        for name, stage in self.stages():
            recompute = self.recompute and stage.training and any(True for _ in stage.parameters())
            x = _recomputed(stage, x) if recompute else stage(x)
            if name in self._stride_of:
                maps[self._stride_of[name]] = x
        return maps


def _recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = checkpoint(stage, x, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_kept(stage)))
    return out


@contextmanager
def statistics_kept(stage: nn.Module) -> Iterator[None]:
    """Let batch norms compute the same again without counting the batch a second time."""
    layers = updated_norms(stage)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.sub_(1)


def make_body(
    name: BackboneName, norm: NormName, strides: Sequence[int] | None = None, eps: float = DEFAULT_EPS
) -> tuple[Body, list[int]]:
    """A feature extractor with random weights.

    Args:
        name: The network.
        norm: Its normalisation.
        strides: Strides of the maps to return; None: all that it has (``strides_of``).
        eps: What its norms add to variances.

    Returns:
        A module that maps images [B, 3, H, W] to a dict of maps by stride ("2" to "32" of most networks), and the
        number of channels of each map.
    """
    network, stages, channels = _network(name, partial(NORMS[norm], eps=eps))
    known = strides_of(name)
    chosen = [known.index(stride) for stride in strides or known]
    strides_of_stages = {stages[i]: str(stride) for i, stride in enumerate(known) if channels[i]}
    body = Body(network, {stages[i]: str(known[i]) for i in chosen if channels[i]}, strides_of_stages)
    fold_norms(body)
    return body, [channels[i] for i in chosen]


def strides_of(name: BackboneName) -> tuple[int, ...]:
    """The strides of a feature extractor's maps."""
    return _STRIDES_OF_PLAIN if name == "plain" else STRIDES


def _network(name: BackboneName, norm: Norm) -> tuple[nn.Module, tuple[str, ...], tuple[int, ...]]:
    """A network, and for each of its strides the stages that make their maps, and their channels; 0: there is none.

    Dropping blocks at random is turned off: it would take its random numbers from the batch and not from the image.
    """
    make: Any = getattr(torchvision.models, name, None)
    channels: tuple[int, ...]
    stages: tuple[str, ...]
    match name:
        case "resnet18" | "resnet34" | "resnet50" | "resnet101":
            network = make(weights=None, norm_layer=norm)
            deep = network.fc.in_features
            stages, channels = (
                ("relu", "layer1", "layer2", "layer3", "layer4"),
                (64, deep // 8, deep // 4, deep // 2, deep),
            )
        case "mobilenet_v2":
            network = make(weights=None, norm_layer=norm).features
            stages, channels = ("1", "3", "6", "13", "18"), (16, 24, 32, 96, 1280)
        case "mobilenet_v3_small":
            network = make(weights=None, norm_layer=norm).features
            stages, channels = ("0", "1", "3", "8", "12"), (16, 16, 24, 48, 576)
        case "mobilenet_v3_large":
            network = make(weights=None, norm_layer=norm).features
            stages, channels = ("1", "3", "6", "12", "16"), (16, 24, 40, 112, 960)
        case "efficientnet_b0" | "efficientnet_b1" | "efficientnet_b2" | "efficientnet_b3":
            network = make(weights=None, norm_layer=norm, stochastic_depth_prob=0.0).features
            stages = ("1", "2", "3", "5", "7")
            channels = tuple(network[int(stage)][-1].out_channels for stage in stages)
        case "efficientnet_lite0" | "efficientnet_lite2":
            network = EfficientNetLite(name, norm)
            ends = [network.last_blocks[i] for i in (0, 1, 2, 4, 6)]
            stages = tuple(f"_blocks.{end}" for end in ends)
            channels = tuple(network.widths[i] for i in (0, 1, 2, 4, 6))
        case "convnext_tiny" | "convnext_small":  # their norms are their own, and their first map has stride 4
            network = make(weights=None, stochastic_depth_prob=0.0).features
            stages, channels = ("", "1", "3", "5", "7"), (0, 96, 192, 384, 768)
        case "plain":
            network = PlainEncoder(norm)
            stages, channels = ("level1", "level2", "level3", "level4", "level5"), WIDTHS
        case "dinov2":
            raise ValueError("dinov2 has patches and no maps of several strides: it is for RF-DETR alone")
        case _:
            assert_never(name)
    return network, stages, channels


def freeze_stem(body: Body) -> None:
    """Freeze the stages up to stride 4, whose features hardly differ between datasets."""
    for stage in body.up_to_stride(4):
        stage.requires_grad_(False)
