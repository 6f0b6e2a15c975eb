"""Reading a source, in several processes where that pays: entries stay in memory, instances go to the spool.

The process that reads a file also writes its picture: an embedded picture is decoded once, and a broken picture is
known before anything refers to it.
"""

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segkit.choices import ImagePlacement
from segkit.config.convert import Boxes
from segkit.conversion.boxes import treat_boxes
from segkit.conversion.parallel import MAX_WORKERS, map_in_order
from segkit.conversion.pictures import write_picture
from segkit.conversion.spool import ImageEntry, Spool, encode_instances
from segkit.data.pixels import thumbnail
from segkit.data.records import IGNORE, AnnotatedImage, Finding, Instance, ReadFile, replace_surrogates
from segkit.errors import InputError
from segkit.formats.encoding import TextEncoding, findings_on_encoding, text_encoding
from segkit.formats.shapes.instances import CROWD_FLAGS
from segkit.formats.source import Source
from segkit.progress import Progress
from segkit.runtime.cores import usable_cores
from segkit.text import label_text, one_line, without_addresses

_FILES_FOR_PROCESSES = 100  # below, starting processes takes longer than reading


@dataclass(frozen=True, slots=True)
class SourceContents:
    """What was read: the images, sorted by key, findings, and the number of files and shapes."""

    entries: tuple[ImageEntry, ...]
    findings: tuple[Finding, ...]
    files: int
    shapes: int
    only_crowds: bool  # whether there are instances, and all of them are crowds


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a process reads one unit of a source.

    Attributes:
        placement: How pictures get into the dataset.
        pictures_dir: Where pictures are written until their names are known; None: nowhere.
        thumbnails: Whether near-duplicates are looked for.
        no_crowds: Whether crowds become instances.
        texts: The encoding of texts that are not UTF-8.
        boxes: What becomes of boxes without a mask.
        replaced: What the new dataset takes the place of: pictures in there are copied, whatever the placement.
    """

    placement: ImagePlacement
    pictures_dir: Path | None
    thumbnails: bool = False
    no_crowds: bool = False
    texts: TextEncoding = TextEncoding()
    boxes: Boxes = "keep"
    replaced: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Unit:
    """One unit of a source, read: its image (None: there is none), and the image's instances as lines."""

    entry: ImageEntry | None
    lines: bytes
    findings: tuple[Finding, ...]
    num_shapes: int
    num_crowds: int = 0


def read_source(
    source: Source, options: ReadOptions, spool: Spool, workers: int | None, progress: Progress
) -> SourceContents:
    """Read a source to its end.

    Args:
        source: What to read.
        options: How.
        spool: Takes the instances.
        workers: Processes; None: by the number of files and cores.
        progress: Shows how many units are read.
    """
    if workers is None:
        worthwhile = source.total is not None and source.total >= _FILES_FOR_PROCESSES
        workers = min(usable_cores(), MAX_WORKERS) if worthwhile else 0
    entries: list[ImageEntry] = []
    findings = [_encodable(row) for row in source.findings]
    num_shapes = num_units = num_crowds = 0
    interned: dict[Any, Any] = {}
    read_unit = partial(_read_unit, read=source.read, options=options)
    units = map_in_order(
        read_unit, enumerate(source.units), workers=workers if source.parallel else 0, lost=_lost, warn=progress.note
    )
    with closing(units):
        for unit in units:
            if num_units == 0:
                progress.start("reading", source.total)  # not before the processes: progress bars have a thread
            num_units += 1
            progress.advance()
            num_shapes += unit.num_shapes
            num_crowds += unit.num_crowds
            findings += [_interned(row, interned) for row in unit.findings]
            if unit.entry is not None:
                offset, length = spool.append(unit.lines)
                labels = tuple(sys.intern(label) for label in unit.entry.labels)
                labels = interned.setdefault(labels, labels)
                entries.append(replace(unit.entry, labels=labels, offset=offset, length=length))
    progress.done()
    entries.sort(key=lambda entry: entry.key)
    regular = sum(label != IGNORE for entry in entries for label in entry.labels) - num_crowds
    only_crowds = num_crowds > 0 and regular == 0
    return SourceContents(tuple(entries), tuple(findings), source.files or num_units, num_shapes, only_crowds)


def _interned(row: Finding, interned: dict[Any, Any]) -> Finding:
    """The same row, its strings shared: hundreds of thousands of rows may have the same."""
    return replace(row, why=interned.setdefault(row.why, row.why), label=interned.setdefault(row.label, row.label))


def _read_unit(item: tuple[int, Any], read: Callable[[Any], ReadFile], options: ReadOptions) -> _Unit:
    number, unit = item
    with text_encoding(options.texts) as noticed:
        outcome = read(unit)
    image = outcome.image
    findings = tuple(_encodable(row) for row in (*findings_on_encoding(noticed), *outcome.findings))
    if image is None:
        return _Unit(None, b"", findings, outcome.num_shapes)
    image, renamed = _names_of_one_line(image)
    findings += renamed
    image, changed = treat_boxes(image, options.boxes)
    findings += changed
    if options.no_crowds and any(instance.iscrowd for instance in image.instances):
        image = replace(image, instances=tuple(map(_without_crowd, image.instances)))
    try:
        temporary = write_picture(
            image, _temporary_picture(image, number, options), options.placement, options.replaced
        )
        small = thumbnail(image.picture.path or image.picture.data) if options.thumbnails else None
    except InputError as error:
        lost = sum(instance.num_shapes for instance in image.instances)
        row = Finding(image.key, "left out", error.with_hint, shapes=lost)
        return _Unit(None, b"", (*findings, _encodable(row)), outcome.num_shapes)
    ready = image.picture.is_ready and image.picture.path is not None
    shapes = tuple(instance.num_shapes for instance in image.instances)
    numbers = tuple(instance.number for instance in image.instances)
    entry = ImageEntry(
        key=replace_surrogates(image.key),
        name=replace_surrogates(image.picture.name),
        folder=image.folder,
        height=image.height,
        width=image.width,
        labels=tuple(instance.label for instance in image.instances),
        shapes=shapes if any(number != 1 for number in shapes) else (),
        split=image.split,
        flags=tuple(replace_surrogates(flag) for flag in image.flags),
        source=str(image.picture.path) if ready else None,
        temporary=temporary,
        thumbnail=small,
        split_from=image.split_from,
        annotation_file=image.annotation_file,
        file=str(image.picture.path) if image.picture.path is not None else None,
        numbers=() if numbers == tuple(range(len(numbers))) or not any(numbers) else numbers,
    )
    crowds = sum(instance.iscrowd for instance in image.instances if instance.label != IGNORE)
    return _Unit(entry, encode_instances(image.instances), findings, outcome.num_shapes, crowds)


def _without_crowd(instance: Instance) -> Instance:
    """The same, as an instance of its own; regions to ignore stay what they are."""
    if not instance.iscrowd or instance.label == IGNORE:
        return instance
    attributes = {name: value for name, value in instance.attributes.items() if name not in CROWD_FLAGS}
    return replace(instance, iscrowd=0, attributes=attributes)


def _names_of_one_line(image: AnnotatedImage) -> tuple[AnnotatedImage, tuple[Finding, ...]]:
    """The image without line breaks and other control characters in its labels and its name: lists have one a line."""
    findings = []
    instances = list(image.instances)
    for index, instance in enumerate(instances):
        if (label := label_text(instance.label)) != instance.label:
            instances[index] = replace(instance, label=label)
            why = "a line break or another control character in the label is a space now"
            if label in instance.label:
                why = "spaces at the ends of the label are removed"
            findings.append(Finding(image.key, "repaired", why, None, label, shapes=instance.num_shapes))
    if (name := one_line(image.picture.name)) != image.picture.name:
        image = replace(image, picture=replace(image.picture, name=name))
        why = "a line break or another control character in the name of the image is a space now"
        findings.append(Finding(image.key, "changed", why, shapes=0))
    return (replace(image, instances=tuple(instances)) if findings else image), tuple(findings)


def _lost(item: tuple[int, Any]) -> _Unit:
    """A unit at which the process that read it died."""
    _, unit = item
    key = getattr(unit, "key", None)
    parts = (key,) if key is not None else unit if isinstance(unit, tuple) else (unit,)
    name = next((part for part in reversed(parts) if isinstance(part, str)), str(parts[0]))
    why = "the process that read it died: it is too large for the memory, or breaks a library"
    return _Unit(None, b"", (_encodable(Finding(name, "left out", why, shapes=0)),), 0)


def _encodable(row: Finding) -> Finding:
    """A row that UTF-8 can hold, and the same in every run: no lone surrogates of file names, no memory addresses."""
    texts = {name: getattr(row, name) or "" for name in ("file", "why", "label", "shape_type")}
    odd: dict[str, Any] = {name: replace_surrogates(text) for name, text in texts.items() if not text.isascii()}
    if (why := without_addresses(odd.get("why", row.why))) != row.why:
        odd["why"] = why
    return replace(row, **odd) if odd else row


def _temporary_picture(image: AnnotatedImage, number: int, options: ReadOptions) -> Path | None:
    if options.pictures_dir is None:
        return None
    suffix = Path(image.picture.name).suffix
    return options.pictures_dir / f"{number // 1000}" / f"{number % 1000}{suffix}"
