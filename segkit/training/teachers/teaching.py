"""How a step gets its losses: from the annotations alone, or with the help of a teacher.

The loop knows this one class, and no kind of teacher.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from segkit.models.tensors import Target

Phase = Callable[[str], AbstractContextManager[Any]]


class Teaching:
    """Learns from the annotations alone."""

    def losses(
        self, module: nn.Module, images: Sequence[Tensor], targets: Sequence[Target], phase: Phase
    ) -> dict[str, Tensor]:
        """The losses of a micro-batch by name, each a mean over its images.

        Args:
            module: The model, in training mode.
            images: uint8 [3, H, W] each, on its device.
            targets: The ground truth of each image.
            phase: A context that measures a part of the step.
        """
        with phase("forward"):
            losses: dict[str, Tensor] = module(images, targets)
        return losses

    def to_plain(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, in plain values."""
        return {}

    def restore(self, plain: dict[str, Any]) -> None:
        """Go on from what a checkpoint has kept.

        Raises:
            SegkitError: It was kept of another teacher.
        """


ANNOTATIONS_ALONE = Teaching()
