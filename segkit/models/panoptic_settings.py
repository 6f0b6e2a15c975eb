"""What a model of things and stuff is made with, besides its layers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PanopticSettings:
    """Which labels are stuff, and how the losses of both tasks are weighed.

    Attributes:
        stuff: Labels of the categories that are stuff; all others are things.
        background: Whether pixels can be of no category: then that is a class of its own.
        semantic_weight: Of the loss of stuff, beside 1 for those of instances; None: both weights are learnt.
    """

    stuff: tuple[int, ...] = ()
    background: bool = True
    semantic_weight: float | None = 0.5

    @property
    def classes(self) -> tuple[int, ...]:
        """The label of each class of the semantic branch from the second on; the first stands for all things."""
        return (*self.stuff, *((0,) if self.background else ()))
