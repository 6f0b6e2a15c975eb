"""Annotations in any format -> a dataset folder in any other, with a record of everything that was lost on the way.

read -> name -> split -> number -> write. One bad file never stops the rest: it becomes a row of ``report.json``.
Instances wait on disk (``segkit.spool``); what stays in memory is a short entry for each image.
"""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from segkit.config.convert import ConvertConfig, TargetFormat
from segkit.dataset import Category, Finding
from segkit.errors import InputError
from segkit.formats.coco import read_json
from segkit.formats.instances import IGNORE
from segkit.gathering import Gathered, Job, gather
from segkit.hygiene import Advice, inspect_labels
from segkit.placing import check_target, file_names, writing_beside
from segkit.progress import SILENT, Progress
from segkit.reading import Source, open_source, read_labels
from segkit.similar import looks
from segkit.split import SPLITS, Member, assign_splits
from segkit.spool import Entry, Spool
from segkit.targets.coco import write_coco_dataset
from segkit.targets.labelme import write_labelme_dataset
from segkit.targets.pixels import write_idmask_dataset, write_semantic_dataset, write_voc_dataset
from segkit.targets.yolo import write_yolo_dataset
from segkit.writing import Outgoing

_WRITERS: dict[TargetFormat, Callable[[Outgoing], None]] = {
    "coco": write_coco_dataset,
    "labelme": write_labelme_dataset,
    "yolo": write_yolo_dataset,
    "voc": write_voc_dataset,
    "idmask": write_idmask_dataset,
    "semantic": write_semantic_dataset,
}
_KEEPS_IGNORED = ("labelme", "semantic", "voc")  # formats that have a place for regions to ignore
_WORK = ".work"  # in the folder that is written: what is gone before it is moved


@dataclass(frozen=True, slots=True)
class SplitCount:
    """How much one split holds."""

    images: int
    instances: int
    negatives: int


@dataclass(frozen=True, slots=True)
class ConversionSummary:
    """What a conversion made, and what it could not carry over.

    Every shape is accounted for: ``shapes`` = ``converted`` + ``left_out`` + ``dropped``.
    """

    out: Path
    source_format: str
    target_format: str
    files: int
    shapes: int
    converted: int
    dropped: int  # shapes that --map dropped
    splits: dict[str, SplitCount]
    categories: dict[str, int]  # instances by name, in the order of their ids
    findings: tuple[Finding, ...]
    hygiene: tuple[Advice, ...]
    dry_run: bool

    @property
    def left_out(self) -> int:
        """Shapes that did not go over."""
        return sum(finding.shapes for finding in self.findings if finding.action == "left out")

    @property
    def lossless(self) -> bool:
        """Whether everything went over as it was."""
        return all(finding.action == "noted" for finding in self.findings)

    def totals(self) -> dict[str, Any]:
        """The summary as JSON, without the rows."""
        return {
            "format": self.source_format,
            "to": self.target_format,
            "files": self.files,
            "shapes": self.shapes,
            "converted": self.converted,
            "lost": self.left_out,
            "dropped": self.dropped,
            "images": sum(count.images for count in self.splits.values()),
            "instances": sum(count.instances for count in self.splits.values()),
            "splits": {name: msgspec.to_builtins(count) for name, count in self.splits.items()},
            "categories": self.categories,
            **dict(sorted(Counter(f.action for f in self.findings).items())),
            "hygiene": [msgspec.to_builtins(advice) for advice in self.hygiene],
        }


def convert(config: ConvertConfig, progress: Progress = SILENT, stdin: Iterable[str] = ()) -> ConversionSummary:
    """Convert annotations to a dataset folder.

    Args:
        config: What to do.
        progress: Who is told how far it is.
        stdin: Where ``-`` reads paths.

    Returns:
        Counts, and a finding for every shape or file that did not go over as it was.

    Raises:
        InputError: Nothing can be converted, a label is unknown, or the target is taken.
    """
    if not config.dry_run:
        check_target(config.out, config.force)
    source = open_source(config, stdin)
    with (
        _ended_by_sigterm(),
        _work_folder(config) as root,
        Spool(root / _WORK / "instances" if root else None) as spool,
    ):
        job = Job(source.read, config.images, root / _WORK / "pictures" if root else None, config.group_similar)
        gathered = gather(source, job, spool, config.workers, progress)
        if not gathered.entries:
            raise _nothing(config.src, gathered.findings)
        going = _arrange(config, source, gathered, root or config.out, spool, progress)
        if root is not None:
            progress.start("writing", len(going.entries))
            _WRITERS[config.target_format](going)
            progress.done()
        summary = _summarise(config, source, gathered, going)
        if root is not None:
            _write_report(summary, _split_settings(config), root)
    return summary


def _write_report(summary: ConversionSummary, settings: dict[str, Any], root: Path) -> None:
    """Totals, the entries of the folder that are the dataset's, and a line for every finding."""
    entries = sorted(["report.json", *(entry.name for entry in root.iterdir() if entry.name != _WORK)])
    top = msgspec.json.format(
        msgspec.json.encode(summary.totals() | {"entries": entries, "split_settings": settings}), indent=1
    )
    with (root / "report.json").open("wb", buffering=1 << 20) as file:
        file.write(top.removesuffix(b"\n}") + b',\n "findings": [')
        for number, row in enumerate(summary.findings):
            file.write((b",\n  " if number else b"\n  ") + msgspec.json.encode(row))
        file.write(b"\n ]\n}\n" if summary.findings else b"]\n}\n")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Schedulers end jobs by SIGTERM: then, too, nothing half-written stays behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _work_folder(config: ConvertConfig) -> Iterator[Path | None]:
    """The folder that is written to; None where nothing is."""
    if config.dry_run:
        yield None
        return
    with writing_beside(config.out, _WORK) as beside:
        (beside / _WORK).mkdir()
        yield beside


def _arrange(
    config: ConvertConfig, source: Source, gathered: Gathered, root: Path, spool: Spool, progress: Progress
) -> Outgoing:
    """Names for categories and pictures, and a split for every image."""
    renamed = _renames(gathered.entries, config)
    counts = _instance_counts(gathered.entries, renamed)
    names = _category_names(counts, config, source.labels)
    placed = file_names(gathered.entries)
    splits = _splits(gathered.entries, placed, config, renamed)
    order = sorted(range(len(placed)), key=lambda index: placed[index])
    twice = _annotated_twice(gathered.entries)
    going = Outgoing(
        root=root,
        out=config.out,
        entries=[gathered.entries[index] for index in order],
        names=[placed[index] for index in order],
        split_of=[splits[index] for index in order],
        splits=[split for split in SPLITS if split in set(splits)],
        categories=tuple(Category(number, name) for number, name in enumerate(names, 1)),
        renamed=renamed,
        uncovered=source.uncovered,
        crowds=config.ignore == "crowd" and config.target_format == "coco",
        references=config.images == "reference",
        spool=spool,
        progress=progress,
        findings=twice,
    )
    if not (going.crowds or config.target_format in _KEEPS_IGNORED):
        _report_ignored(going)
    return going


def _annotated_twice(entries: Sequence[Entry]) -> list[Finding]:
    """Pictures that more than one file annotates: all of them count, and they stay in one split."""
    first: dict[str, str] = {}
    return [
        Finding(entry.key, "noted", f"of the same picture as {before}", shapes=0)
        for entry in entries
        if entry.source is not None and (before := first.setdefault(entry.source, entry.key)) != entry.key
    ]


def _renames(entries: Sequence[Entry], config: ConvertConfig) -> dict[str, str | None]:
    """What ``--map`` makes of the labels that are there."""
    asked = dict(config.map)
    labels = {label for entry in entries for label in entry.labels}
    return {label: asked.get(label, label) or None for label in labels}


def _instance_counts(entries: Sequence[Entry], renamed: dict[str, str | None]) -> Counter[str]:
    raw = Counter(label for entry in entries for label in entry.labels)
    counts: Counter[str] = Counter()
    for label, number in raw.items():
        name = renamed[label]
        if name is not None and name != IGNORE:
            counts[name] += number
    return counts


def _report_ignored(going: Outgoing) -> None:
    why = "marks a region to ignore, which the format has no place for"
    why += "" if going.crowds else "; --ignore crowd keeps it as a COCO crowd"
    for entry in going.entries:
        for index, label in enumerate(entry.labels):
            if going.renamed[label] == IGNORE:
                row = Finding(entry.key, "left out", why, None, label, shapes=entry.num_shapes(index))
                going.findings.append(row)


def _nothing(src: str, findings: Sequence[Finding]) -> InputError:
    if not findings:
        return InputError(f"{src}: nothing to convert", "name the folder that holds the LabelMe JSON files")
    first = findings[0]
    more = f" (and {len(findings) - 1} more findings)" if len(findings) > 1 else ""
    return InputError(f"{src}: nothing could be converted: {first.file}: {first.why}{more}")


def _category_names(seen: Counter[str], config: ConvertConfig, given: Sequence[str]) -> list[str]:
    """Names in the order of their ids: the labels file's, else the source's, else sorted."""
    if config.labels is None:
        asked = dict(config.map)
        ordered = list(dict.fromkeys(name for label in given if (name := asked.get(label, label))))
        return ordered + sorted(seen.keys() - set(ordered))
    names = read_labels(config.labels)
    if unknown := sorted(seen.keys() - set(names)):
        some = ", ".join(f"{name!r} ({seen[name]})" for name in unknown[:5])
        raise InputError(
            f"{config.labels}: does not list {len(unknown)} of the labels used: {some}",
            f"add them, rename with --map {unknown[0]}=NAME, or drop with --map {unknown[0]}=",
        )
    return names


def _splits(
    entries: Sequence[Entry], names: Sequence[str], config: ConvertConfig, renamed: dict[str, str | None]
) -> list[str]:
    own = [entry.split for entry in entries]
    if config.val is None and all(own) and len(set(own)) > 1:
        return [str(split) for split in own]
    standard = 0.0 if config.target_format == "labelme" else 0.2  # LabelMe folders are for people, not for training
    val = standard if config.val is None else config.val
    alike = looks([entry.thumbnail for entry in entries]) if config.group_similar else [None] * len(entries)
    members = [
        Member(
            entry.key,
            [name for label in entry.labels if (name := renamed[label]) and name != IGNORE],
            tuple(tie for tie in (("picture", entry.source), ("look", look)) if tie[1] is not None),
        )
        for entry, look in zip(entries, alike, strict=True)
    ]
    before = _earlier_splits(config)
    fixed = {entry.key: before[name] for entry, name in zip(entries, names, strict=True) if name in before}
    return assign_splits(members, val=val, test=config.test, group_by=config.group_by, seed=config.seed, fixed=fixed)


def _split_settings(config: ConvertConfig) -> dict[str, Any]:
    """What decides on splits; ``report.json`` has it so that the next conversion knows."""
    return {"val": config.val, "test": config.test, "group_by": config.group_by, "seed": config.seed}


def _earlier_splits(config: ConvertConfig) -> dict[str, str]:
    """The split of every picture of an earlier dataset, by file name.

    It is the one that ``--keep-splits`` names, else the one that this conversion replaces, if that was split by the
    same settings: pictures that were validated on must not be trained on because others were added.

    Raises:
        InputError: ``--keep-splits`` names no dataset.
    """
    dataset = config.keep_splits
    if dataset is None:
        report = config.out / "report.json"
        top = read_json(report) if report.is_file() else None
        if not isinstance(top, dict) or top.get("split_settings") != _split_settings(config):
            return {}
        dataset = config.out
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = dataset / f"{split}.json"
        if path.is_file():
            top = read_json(path)
            images = top.get("images", []) if isinstance(top, dict) else []
            splits |= {
                image["file_name"]: split for image in images if isinstance(image, dict) and "file_name" in image
            }
    if not splits and config.keep_splits is not None:
        raise InputError(
            f"{dataset}: no dataset whose splits could be kept", "--keep-splits names a folder with train.json"
        )
    return splits


def _summarise(config: ConvertConfig, source: Source, gathered: Gathered, going: Outgoing) -> ConversionSummary:
    by_split = {split: Counter[str]() for split in going.splits}
    totals = {split: [0, 0, 0] for split in going.splits}
    dropped = 0
    for entry, split in zip(going.entries, going.split_of, strict=True):
        kept = 0
        for index, label in enumerate(entry.labels):
            name = going.renamed[label]
            if name is None:
                dropped += entry.num_shapes(index)
            elif name != IGNORE:
                by_split[split][name] += 1
                kept += 1
        totals[split][0] += 1
        totals[split][1] += kept
        totals[split][2] += not kept
    counts: Counter[str] = sum(by_split.values(), Counter())
    findings = (*gathered.findings, *going.findings)
    lost = sum(finding.shapes for finding in findings if finding.action == "left out")
    categories = {category.name: counts[category.name] for category in going.categories}
    return ConversionSummary(
        out=config.out,
        source_format=source.format,
        target_format=config.target_format,
        files=gathered.files,
        shapes=gathered.shapes,
        converted=gathered.shapes - lost - dropped,
        dropped=dropped,
        splits={split: SplitCount(*numbers) for split, numbers in totals.items()},
        categories=categories,
        findings=tuple(sorted(findings, key=lambda f: (f.file, -1 if f.shape is None else f.shape, f.why))),
        hygiene=inspect_labels(categories, by_split),
        dry_run=config.dry_run,
    )
