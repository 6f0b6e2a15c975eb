"""What a step was given: how many values and instances, and the names of the images."""

from typing import Any, NamedTuple

import torch

_MOST_SIZES = 10_000
_MOST_NAMES = 16


class StepInput(NamedTuple):
    """The input of a step.

    Attributes:
        elements: Values in the tensors that the model was given.
        instances: Instances in the targets.
        names: Names of the images, where targets have an ``image_id``.
    """

    elements: int = 0
    instances: int = 0
    names: tuple[str, ...] = ()

    def plus(self, other: "StepInput") -> "StepInput":
        """Both together."""
        names = (*self.names, *other.names)[:_MOST_NAMES]
        return StepInput(self.elements + other.elements, self.instances + other.instances, names)


NOTHING = StepInput()


def input_of(value: Any, sizes: set[int], depth: int = 0) -> StepInput:
    """What is in the arguments of a module.

    Args:
        value: The arguments.
        sizes: Gets the sizes of all dimensions of their tensors.
        depth: How deep in the arguments this value is.
    """
    if isinstance(value, torch.Tensor):
        if len(sizes) < _MOST_SIZES:
            sizes.update(value.shape)
        return StepInput(value.numel())
    if depth > 2:
        return NOTHING
    if isinstance(value, dict):  # a detector's target
        boxes = value.get("boxes")
        return StepInput(0, len(boxes) if isinstance(boxes, torch.Tensor) else 0, _names(value.get("image_id")))
    given = NOTHING
    if isinstance(value, tuple | list):
        for each in value[:64]:
            given = given.plus(input_of(each, sizes, depth + 1))
    return given


def _names(image_id: Any) -> tuple[str, ...]:
    if isinstance(image_id, torch.Tensor):
        if image_id.numel() != 1 or image_id.device.type != "cpu":  # asking another device would wait for it
            return ()
        image_id = image_id.item()
    return (f"image_id {image_id}",) if isinstance(image_id, int | str) else ()
