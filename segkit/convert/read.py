"""Everything that a source holds, read in processes: what stays in memory of it, and the rest in the spool.

The process that reads a file also writes its picture: an embedded picture is decoded once, and a picture that turns
out to be broken is known before anything refers to it.
"""

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from segkit.choices import ImagePlacement
from segkit.convert.images import place
from segkit.convert.parallel import MAX_WORKERS, map_in_order, usable_cores
from segkit.convert.source import Source
from segkit.convert.spool import Entry, Spool, encode_instances
from segkit.data.pictures import thumbnail
from segkit.data.records import AnnotatedImage, Finding, ReadFile, sound
from segkit.errors import InputError
from segkit.progress import Progress

_FILES_FOR_PROCESSES = 100  # below, starting processes takes longer than reading


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was read: entries sorted by key."""

    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    files: int
    shapes: int


@dataclass(frozen=True, slots=True)
class Job:
    """What a process needs to know to read and place one unit of a source."""

    read: Callable[[Any], ReadFile]
    images: ImagePlacement
    pictures_dir: Path | None  # where pictures wait for their names; None: nothing is written
    thumbnails: bool = False


@dataclass(frozen=True, slots=True)
class _Digest:
    entry: Entry | None
    lines: bytes
    findings: tuple[Finding, ...]
    num_shapes: int


def gather(source: Source, job: Job, spool: Spool, workers: int | None, progress: Progress) -> Gathered:
    """Read a source to its end.

    Args:
        source: What to read.
        job: How.
        spool: Takes the instances.
        workers: Processes; None decides by the number of files and cores.
        progress: Who is told how far it is.
    """
    if workers is None:
        worthwhile = source.total is not None and source.total >= _FILES_FOR_PROCESSES
        workers = min(usable_cores(), MAX_WORKERS) if worthwhile else 0
    entries: list[Entry] = []
    findings: list[Finding] = []
    shapes, read = 0, 0
    interned: dict[Any, Any] = {}
    digests = map_in_order(
        partial(_digest, job=job), zip(count(), source.units, strict=False), workers=workers if source.parallel else 0
    )
    with closing(digests):  # type: ignore[type-var]
        for digest in digests:
            if read == 0:
                progress.start("reading", source.total)  # not before the processes: bars have a thread
            read += 1
            progress.advance()
            shapes += digest.num_shapes
            findings += [_shared(row, interned) for row in digest.findings]
            if digest.entry is not None:
                at, size = spool.append(digest.lines)
                labels = tuple(sys.intern(label) for label in digest.entry.labels)
                labels = interned.setdefault(labels, labels)
                entries.append(replace(digest.entry, labels=labels, at=at, size=size))
    progress.done()
    entries.sort(key=lambda entry: entry.key)
    return Gathered(tuple(entries), tuple(findings), source.files or read, shapes)


def _shared(row: Finding, interned: dict[Any, Any]) -> Finding:
    """The same row with its texts shared: hundreds of thousands of rows may say the same."""
    return replace(row, why=interned.setdefault(row.why, row.why), label=interned.setdefault(row.label, row.label))


def _digest(item: tuple[int, Any], job: Job) -> _Digest:
    number, unit = item
    outcome = job.read(unit)
    image = outcome.image
    found = tuple(_printable(row) for row in outcome.findings)
    if image is None:
        return _Digest(None, b"", found, outcome.num_shapes)
    try:
        placed = _place(image, number, job)
        look = thumbnail(image.picture.path or image.picture.data) if job.thumbnails else None
    except InputError as error:
        hint = f" ({error.hint})" if error.hint else ""
        lost = sum(instance.num_shapes for instance in image.instances)
        row = Finding(image.key, "left out", error.message + hint, shapes=lost)
        return _Digest(None, b"", (*found, _printable(row)), outcome.num_shapes)
    ready = image.picture.is_ready and image.picture.path is not None
    shapes = tuple(instance.num_shapes for instance in image.instances)
    entry = Entry(
        key=sound(image.key),
        name=sound(image.picture.name),
        folder=image.folder,
        height=image.height,
        width=image.width,
        labels=tuple(instance.label for instance in image.instances),
        shapes=shapes if any(number != 1 for number in shapes) else (),
        split=image.split,
        flags=tuple(sound(flag) for flag in image.flags),
        source=str(image.picture.path) if ready else None,
        placed=placed,
        thumbnail=look,
    )
    return _Digest(entry, encode_instances(image.instances), found, outcome.num_shapes)


def _printable(row: Finding) -> Finding:
    """A row that UTF-8 can hold: file names and JSON escapes need not."""
    texts = (row.file, row.why, row.label, row.shape_type)
    if all(text is None or text.isascii() for text in texts):
        return row
    kind = None if row.shape_type is None else sound(row.shape_type)
    label = None if row.label is None else sound(row.label)
    return replace(row, file=sound(row.file), why=sound(row.why), label=label, shape_type=kind)


def _place(image: AnnotatedImage, number: int, job: Job) -> str | None:
    suffix = Path(image.picture.name).suffix
    waiting = None if job.pictures_dir is None else job.pictures_dir / f"{number // 1000}" / f"{number % 1000}{suffix}"
    return place(image, waiting, job.images)
