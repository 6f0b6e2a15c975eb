"""Replacements for a rehearsal: images, gradients and a meter without data."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, cast

import torch
from torch import nn

from segkit.data.records import Image
from segkit.loading.whole import Sample
from segkit.memory.measure.meter import StepRecord
from segkit.memory.measure.torch_private import without_modes
from segkit.memory.simulate.oracle import Oracle
from segkit.memory.simulate.trace import Trace
from segkit.models.card import ModelCard
from segkit.models.tensors import Target
from segkit.training.gradients import SharedGradients
from segkit.training.rehearsal.batches import Shape


def fake_sample(shape: Shape, frame: tuple[int, int] | None, card: ModelCard, oracle: Oracle) -> Sample:
    """An image of given dimensions, as the loader would give it; its boxes have values, which masks are cut by.

    Args:
        shape: The dimensions.
        frame: Height and width that its batch is padded to.
        card: Of the model, whose targets are made.
        oracle: Remembers the values of the boxes.
    """
    image = torch.empty(card.channels, shape.height, shape.width, dtype=torch.uint8)
    record = Image(0, shape.name, shape.height, shape.width)
    if card.framing.kind == "semantic":
        maps = ("semantic", "distances") if card.unet.instances == "distance" else ("semantic",)
        label_maps = {name: torch.empty(shape.height, shape.width, dtype=torch.uint8) for name in maps}
        return Sample(image, cast(Target, label_maps), record)
    with without_modes():
        corners = torch.from_numpy(shape.boxes).float()
    target: Target = {
        "boxes": oracle.know(torch.empty(shape.instances, 4), corners),
        "labels": torch.empty(shape.instances, dtype=torch.int64),
        "box_masks": torch.empty(shape.mask_bytes, dtype=torch.uint8),
        "seed": 0,
    }
    if card.panoptic is not None:
        target["semantic"] = torch.empty(shape.height, shape.width, dtype=torch.uint8)
    if frame is not None:
        target["frame"] = frame
    return Sample(image, target, record)


def to_channels_last(module: nn.Module) -> None:
    """Do what ``module.to(memory_format=torch.channels_last)`` does, which fake parameters do not allow."""
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.dim() == 4:
                turned = parameter.detach().contiguous(memory_format=torch.channels_last)
                setattr(layer, name, nn.Parameter(turned, requires_grad=parameter.requires_grad))


class KeptGradients(SharedGradients):
    """Gradients that are kept between steps, as with several ranks."""

    def clear(self) -> None:
        """Set them to zero."""
        for parameter in self._trainable:
            if parameter.grad is not None:
                parameter.grad.zero_()


class Phases:
    """A meter that measures nothing and passes the phase on to a trace."""

    _names: ClassVar = {"transfer": "pictures", "backward": "backward pass", "step": "optimiser"}

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def phase(self, name: str) -> AbstractContextManager[None]:
        """See ``Meter``."""
        return self._trace.doing(self._names.get(name, name))

    def step(self, images: Sequence[str] = ()) -> StepRecord:
        """See ``Meter``."""
        return StepRecord(0.0, None, None, None, 0, {})

    def rise(self) -> float | None:
        """See ``Meter``."""
        return None

    def peaks(self) -> dict[str, int]:
        """See ``Meter``."""
        return {}
