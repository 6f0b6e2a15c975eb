"""Layers with fewer channels than their architecture has: what pruning leaves of a model.

A pruned model is built as the whole one, and made narrower then (``narrow``). Its layers, norms and tensors keep their
names; only shapes change, and the model card says which.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from segkit.models.frozen_norm import FrozenNorm
from segkit.models.sizes import Width


def widths_of(narrowed: nn.Module, whole: nn.Module) -> tuple[Width, ...]:
    """The layers in which a model has fewer channels than the whole one has.

    Args:
        narrowed: A model with the modules of the other.
        whole: The model as its architecture has it.
    """
    found, layers = [], dict(narrowed.named_modules())
    for name, layer in whole.named_modules():
        if (full := _sides(layer)) is not None and (own := _sides(layers[name])) is not None and own != full:
            outputs, inputs = (a if a != b else 0 for a, b in zip(own, full, strict=True))
            found.append(Width(name, outputs, inputs))
    return tuple(found)


def narrow(model: nn.Module, widths: Sequence[Width]) -> None:
    """Take channels from layers; which ones does not matter, as their weights are loaded afterwards.

    Args:
        model: A model as its architecture has it, with random weights.
        widths: What it is to have.

    Raises:
        ValueError: A layer is none that can be made narrower, or has not so many channels.
    """
    layers = dict(model.named_modules())
    for width in widths:
        layer = layers.get(width.layer)
        full = None if layer is None else _sides(layer)
        if layer is None or full is None:
            raise ValueError(f"{width.layer}: no layer with channels")
        outputs, inputs = width.outputs or full[0], width.inputs or full[1]
        if not (0 < outputs <= full[0] and 0 <= inputs <= full[1]):
            raise ValueError(f"{width.layer}: has not so many channels")
        _narrow(layer, outputs, inputs)


def _sides(layer: nn.Module) -> tuple[int, int] | None:
    """Output and input channels of a layer; norms and depthwise convolutions have as many inputs as outputs: 0."""
    match layer:
        case nn.Conv2d():
            return layer.out_channels, 0 if _is_depthwise(layer) else layer.in_channels
        case nn.ConvTranspose2d():
            return layer.out_channels, layer.in_channels
        case nn.Linear():
            return layer.out_features, layer.in_features
        case nn.GroupNorm():
            return layer.num_channels, 0
        case nn.BatchNorm2d() | nn.SyncBatchNorm() | FrozenNorm():
            return len(cast(Tensor, layer.running_mean)), 0
        case _:
            return None


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels


def _narrow(layer: nn.Module, outputs: int, inputs: int) -> None:
    match layer:
        case nn.Conv2d():
            if _is_depthwise(layer):
                layer.groups = layer.in_channels = outputs
            else:
                layer.in_channels = inputs
            layer.out_channels = outputs
            _cut(layer, "weight", outputs, layer.in_channels // layer.groups)
            _cut(layer, "bias", outputs)
        case nn.ConvTranspose2d():
            layer.in_channels, layer.out_channels = inputs, outputs
            _cut(layer, "weight", inputs, outputs)
            _cut(layer, "bias", outputs)
        case nn.Linear():
            layer.in_features, layer.out_features = inputs, outputs
            _cut(layer, "weight", outputs, inputs)
            _cut(layer, "bias", outputs)
        case _:
            if isinstance(layer, nn.GroupNorm):
                layer.num_channels = outputs
            elif isinstance(layer, nn.BatchNorm2d | nn.SyncBatchNorm):  # torchvision's frozen norm has no number
                layer.num_features = outputs
            for name in ("weight", "bias", "running_mean", "running_var"):
                _cut(layer, name, outputs)


def _cut(layer: nn.Module, name: str, *sides: int) -> None:
    """Keep the first rows (and columns) of a tensor of a layer, if it has it."""
    value = getattr(layer, name, None)
    if value is None:
        return
    part = value.detach()[tuple(slice(side) for side in sides)].clone()
    setattr(layer, name, nn.Parameter(part, value.requires_grad) if isinstance(value, nn.Parameter) else part)
