"""What the readers of all formats return: a source of images, read one at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from segkit.data.records import Finding, ReadFile, Uncovered


@dataclass(frozen=True, slots=True)
class Source:
    """The units of a source, and how to read them.

    Attributes:
        format: Its name.
        units: What is read one at a time (a file, a picture with its masks, ...), in a stable order.
        read: Reads a unit; it never raises for bad input.
        total: How many units there are, if that is known.
        files: How many annotation files there are, where they are not the units.
        parallel: Whether units can be read in other processes.
        labels: The categories in their order, where the source has one.
        uncovered: What pixels under no annotation are.
        findings: About the source as a whole.
        stuff: Those of the labels that are stuff (``isthing`` 0): regions without instances.
    """

    format: str
    units: Iterable[Any]
    read: Callable[[Any], ReadFile]
    total: int | None = None
    files: int = 0
    parallel: bool = True
    labels: tuple[str, ...] = ()
    uncovered: Uncovered = "background"
    findings: tuple[Finding, ...] = ()
    stuff: frozenset[str] = frozenset()


def already_read(unit: ReadFile) -> ReadFile:
    """The ``read`` of a source whose units are read when they are listed."""
    return unit
