"""Where tensors are made, and weak references to their memory that know it."""

import weakref
from typing import NamedTuple

from segkit.memory.measure.user_code import Line

GRAPH = "autograd graph"
"""The operation of an allocation that stands for the autograd graph of a step."""


class Site(NamedTuple):
    """Where a tensor was made: a line of the user's code, and the operation."""

    line: Line
    operation: str


class Allocation(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to a storage that knows when and where it was made.

    Attributes:
        key: The address of the storage.
        size: Bytes.
        site: Where it was made.
        step: In which step.
        phase: In which phase of that step.
        device: Its type of device.
        module: The module whose forward was running.
        library_line: The innermost line outside torch itself, of large tensors in steps whose peak is kept.
        saved: Whether autograd has saved it for a backward pass.
        old: Whether it has outlived the grace period.
        joined: How often it was concatenated with more of its kind, and the bytes that it began with.
        cohort: The live allocations of the same step.
    """

    __slots__ = (
        "cohort", "device", "joined", "key", "library_line", "module", "old", "phase", "saved", "site",
        "size", "step",
    )  # fmt: skip

    key: int
    size: int
    site: Site
    step: int
    phase: str
    device: str
    module: str | None
    library_line: str | None
    saved: bool
    old: bool
    joined: tuple[int, int]
    cohort: dict[int, "Allocation"]
