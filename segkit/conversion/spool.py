"""Instances between reading and writing: as JSON in one file on disk, so that memory does not grow with them.

An image's instances are lines, each the end of a COCO annotation (all but the ids). A COCO file is written by putting
ids before these bytes: coordinates are encoded once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from segkit.data.records import Instance, replace_surrogates

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """What is kept in memory of an image while its instances are in the spool."""

    key: str
    name: str  # of the picture
    folder: str | None
    height: int
    width: int
    labels: tuple[str, ...]  # of each instance
    shapes: tuple[int, ...]  # how many shapes each instance is made of; empty: one each
    split: str | None
    flags: tuple[str, ...]
    source: str | None  # the picture file, where it can be used as it is
    temporary: str | None  # the picture in the temporary folder, until its name is known
    thumbnail: bytes | None  # to find near-duplicates
    offset: int = 0  # of its instances in the spool
    length: int = 0  # in bytes
    split_from: str | None = None
    annotation_file: str | None = None
    file: str | None = None  # the picture file
    numbers: tuple[int | None, ...] = ()  # what the file calls each instance; empty: by their order, from 0

    def num_shapes(self, index: int) -> int:
        """The number of shapes that the instance at ``index`` is made of."""
        return self.shapes[index] if self.shapes else 1


class _Line(msgspec.Struct, omit_defaults=True):
    """The end of a COCO annotation."""

    segmentation: Any
    area: Any
    bbox: tuple[Any, Any, Any, Any]
    iscrowd: int
    attributes: dict[str, Any] = {}


def encode_instances(instances: Sequence[Instance]) -> bytes:
    """Instances as lines, without their labels."""
    return b"\n".join(_encode(instance)[1:] for instance in instances)


def _encode(instance: Instance) -> bytes:
    attributes = dict(sorted(instance.attributes.items()))
    line = _Line(instance.segmentation, instance.area, instance.bbox, instance.iscrowd, attributes)
    try:
        return _encoder.encode(line)
    except (OverflowError, UnicodeEncodeError, RecursionError, ValueError, TypeError):
        line.attributes = _plain(line.attributes, 0)
        return _encoder.encode(line)


def _plain(value: Any, depth: int) -> Any:
    """An attribute that every JSON reader takes: lone surrogates, huge numbers and deep nesting become text."""
    if depth > 16:
        return "..."
    if isinstance(value, dict):
        return {replace_surrogates(str(name)): _plain(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return f"{value:e}" if abs(value) < 10**300 else "a very large number"
    return replace_surrogates(value) if isinstance(value, str) else value


_decoder = msgspec.json.Decoder(_Line)


class Spool:
    """A file of instances, written in order and then read in any order; without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w+b") if path is not None else None
        self._end = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def append(self, data: bytes) -> tuple[int, int]:
        """Add an image's lines; returns their offset and length."""
        offset = self._end
        if self._file is not None:
            self._file.write(data)
        self._end += len(data)
        return offset, len(data)

    def lines(self, entry: ImageEntry) -> list[bytes]:
        """An image's instances as the ends of COCO annotations."""
        if self._file is None or not entry.length:
            return []
        self._file.seek(entry.offset)
        return self._file.read(entry.length).split(b"\n")

    def instances(self, entry: ImageEntry) -> Iterator[Instance]:
        """An image's instances."""
        for index, (data, label) in enumerate(zip(self.lines(entry), entry.labels, strict=True)):
            line = _decoder.decode(b"{" + data)
            shapes = entry.num_shapes(index)
            number = entry.numbers[index] if entry.numbers else index
            rest = (line.attributes, shapes, number)
            yield Instance(label, line.segmentation, line.bbox, line.area, line.iscrowd, *rest)
