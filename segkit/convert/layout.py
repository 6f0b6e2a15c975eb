"""What was read, arranged for writing: names for categories and pictures, and a split for every image."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.config.convert import ConvertConfig
from segkit.convert.images import file_names
from segkit.convert.near_duplicates import looks
from segkit.convert.outgoing import Outgoing
from segkit.convert.read import Gathered
from segkit.convert.source import Source, read_labels
from segkit.convert.split import SPLITS, Member, assign_splits
from segkit.convert.spool import Entry, Spool
from segkit.data.records import Category, Finding
from segkit.errors import InputError
from segkit.formats.coco.file import read_json
from segkit.formats.labelme.instances import IGNORE
from segkit.progress import Progress

_KEEPS_IGNORED = ("labelme", "semantic", "voc")  # formats that have a place for regions to ignore


def arrange(
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
        keeps_words=config.target_format in ("coco", "labelme"),
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


def _category_names(seen: Counter[str], config: ConvertConfig, given: Sequence[str]) -> list[str]:
    """Names in the order of their ids: the labels file's, else the source's, else sorted."""
    if config.labels is None:
        asked = dict(config.map)
        ordered = list(dict.fromkeys(name for label in given if (name := asked.get(label, label))))
        if seen and not seen.keys() & set(ordered):
            ordered = []  # a list of something else
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


def split_settings(config: ConvertConfig) -> dict[str, Any]:
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
        if not isinstance(top, dict) or top.get("split_settings") != split_settings(config):
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
