"""How a step gets its losses: from the annotations alone, or with the help of a teacher.

The loop knows this one class, and no kind of teacher.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from segkit.errors import SegkitError
from segkit.loading.whole import Sample
from segkit.models.tensors import Target
from segkit.runtime.ranks import Ranks

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

    @property
    def annotated(self) -> "Teaching":
        """What is learnt from annotated images."""
        return self

    @property
    def compares(self) -> bool:
        """Whether the run is to be compared with one of the annotated images alone, from the next step on."""
        return False

    def rehearsed(self) -> "Teaching":
        """The same for a rehearsal: what it needs at most, from the first step on."""
        return self

    def more(self, load: Callable[[], Generator[list[Sample | SegkitError]]]) -> list[Sample | SegkitError]:
        """Further images of this rank for the next step.

        Args:
            load: Opens the loader of images without annotations, from the next step on.
        """
        return []

    def close(self) -> None:
        """No further images are asked for."""

    def begin(self) -> None:
        """A step begins, or begins again with smaller micro-batches."""

    def end(self, ranks: Ranks) -> None:
        """The step's losses are there on all ranks."""

    def switches(self, step: int, done: float) -> bool:
        """Whether more is learnt from after this step than before, and the model is to be evaluated at it.

        Args:
            step: Steps done.
            done: The fraction of the run that is over, alike on all ranks.
        """
        return False

    def after_evaluation(self, name: str, value: float | None, step: int, alone: float | None = None) -> str | None:
        """Take notice of a score, alike on all ranks; returns what is to be said.

        Args:
            name: Of the score.
            value: The score; None where there is nothing to score by.
            step: Steps done.
            alone: The score after as many steps with the annotated images alone; None where none were done.
        """
        return None

    def gave(self, categories: Sequence[str]) -> dict[str, Any]:
        """What images without annotations gave, for the summary; empty where there are none.

        Args:
            categories: Names by label from 1.
        """
        return {}

    def to_plain(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, in plain values."""
        return {}

    def restore(self, plain: dict[str, Any]) -> None:
        """Go on from what a checkpoint has kept.

        Raises:
            SegkitError: It was kept of another teacher.
        """


ANNOTATIONS_ALONE = Teaching()


def in_parts(batch: Sequence[Sample], most: int) -> list[Sequence[Sample]]:
    """Micro-batches of at most so many images, in order; none has both annotated images and others."""
    kinds = [[s for s in batch if "weak" not in s.target], [s for s in batch if "weak" in s.target]]
    return [some[start : start + most] for some in kinds for start in range(0, len(some), most)]
