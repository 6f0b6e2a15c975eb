"""Choosing the split of every image: the source's own, an earlier dataset's, or a new one by the rule of ``split``.

A split that the source has is kept. Images without one are for training where the source has a val split; else val is
drawn among them. Where the source has nothing but train, val is drawn from that. ``--val`` and ``--test`` draw the
split that they name from train and what the source has in that split; the source's other split is kept.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from segkit.config.convert import ConvertConfig
from segkit.conversion.earlier_splits import earlier_splits, split_settings
from segkit.conversion.near_duplicates import group_similar
from segkit.conversion.same_pictures import picture_files
from segkit.conversion.source_splits import SourceSplit, describe, source_splits
from segkit.conversion.split import SplitImage, assign_folds, assign_splits
from segkit.conversion.split_findings import group_findings, leaks, moved, unknown_splits
from segkit.conversion.spool import ImageEntry
from segkit.data.records import IGNORE, Action, Finding


@dataclass(frozen=True, slots=True)
class PlannedSplits:
    """The split of every image, how many images each origin gave to each split, findings, and folds."""

    splits: list[str]
    origins: dict[str, Counter[str]]
    findings: list[Finding]
    folds: list[int | None]


class _Rule(NamedTuple):
    """The shares of new splits, the source's splits that are kept (by index), and a finding."""

    val: float
    test: float
    kept: dict[int, SourceSplit]
    finding: tuple[Action, str] | None = None

    @property
    def drawn(self) -> list[str]:
        """The splits that images are drawn for."""
        return [name for name, share in (("val", self.val), ("test", self.test)) if share > 0]


def plan_splits(
    entries: Sequence[ImageEntry], names: Sequence[str], config: ConvertConfig, new_labels: Mapping[str, str | None]
) -> PlannedSplits:
    """Give every image its split.

    Args:
        entries: The images.
        names: Their names in the dataset.
        config: The options of the conversion.
        new_labels: What each label of the source becomes.

    Raises:
        InputError: ``--group-by`` matches no image, or ``--keep-splits`` names no dataset.
    """
    own = source_splits(entries, new_labels)
    rule = _rule(own, config)
    images = _images(entries, config, new_labels)
    before = earlier_splits(config.out, config.keep_splits, split_settings(config))
    kept = {index: each for index, each in rule.kept.items() if not (config.keep_splits and names[index] in before)}
    splits = assign_splits(
        images,
        val=rule.val,
        test=rule.test,
        group_by=config.group_by,
        seed=config.seed,
        fixed={index: before[name] for index, name in enumerate(names) if name in before},
        kept={index: each.split for index, each in kept.items()},
    )
    for index, source in enumerate(own):  # the source's train does not follow a kept image of its group
        free = index not in kept and source is not None and names[index] not in before
        if free and splits[index] not in ("train", *rule.drawn):
            splits[index] = "train"
    findings = [Finding(config.src, *rule.finding, shapes=0)] if rule.finding else []
    findings += group_findings(images, config, drawn=rule.val + rule.test > 0)
    findings += unknown_splits(entries)
    findings += moved(entries, own, splits, rule.kept)
    findings += leaks(images, splits, config.group_by, kept)
    origins = _origins(names, splits, kept, before, config, rule)
    return PlannedSplits(splits, origins, findings, _folds(images, splits, config))


def _folds(images: Sequence[SplitImage], splits: Sequence[str], config: ConvertConfig) -> list[int | None]:
    """The fold of every training image; None for other images, and where no folds are wanted.

    Raises:
        InputError: There are too few images.
    """
    out: list[int | None] = [None] * len(images)
    if config.folds is None:
        return out
    training = [index for index, split in enumerate(splits) if split == "train"]
    found = assign_folds([images[index] for index in training], config.folds, config.group_by, config.seed)
    for index, fold in zip(training, found, strict=True):
        out[index] = fold
    return out


def _images(
    entries: Sequence[ImageEntry], config: ConvertConfig, new_labels: Mapping[str, str | None]
) -> list[SplitImage]:
    similar = group_similar([entry.thumbnail for entry in entries]) if config.group_similar else [None] * len(entries)
    return [
        SplitImage(
            entry.key,
            [name for label in entry.labels if (name := new_labels[label]) and name != IGNORE],
            tuple(shared for shared in (("picture", file), ("look", look)) if shared[1] is not None),
        )
        for entry, file, look in zip(entries, picture_files(entries), similar, strict=True)
    ]


def _rule(own: Sequence[SourceSplit | None], config: ConvertConfig) -> _Rule:
    """What is kept of the source's splits, and how the others are drawn."""
    default = 0.0 if config.target_format == "labelme" else 0.2  # LabelMe folders are for people, not for training
    val = default if config.val is None else config.val
    known = {index: each for index, each in enumerate(own) if each is not None}
    there = {each.split for each in known.values()}
    asked = {name for name, given in (("val", config.val is not None), ("test", config.test > 0)) if given}
    complete = len(known) == len(own)
    if not known:
        return _Rule(val, config.test, {})
    where = describe(list(known.values()))
    if asked or (complete and there == {"train"}):
        kept = {index: each for index, each in known.items() if each.split not in asked | {"train"}}
        kept = {} if len(kept) == len(own) else kept  # there is nothing else to draw from
        drawn = val if "val" in asked or there == {"train"} else 0.0
        return _Rule(drawn, config.test, kept, _said(asked, there, where, kept, drawn, config.test))
    if "val" in there:
        return _Rule(0.0, 0.0, known)
    hint = "draws one from train" if "train" in there else "splits anew"
    lacking: tuple[Action, str] | None = None
    if complete and default:
        lacking = ("noted", f"the source ({where}) has no val split; --val 0.2 {hint}")
    return _Rule(val, 0.0, known, lacking)


def _said(
    asked: set[str], there: set[str], where: str, kept: Mapping[int, SourceSplit], val: float, test: float
) -> tuple[Action, str] | None:
    """What is said where splits are drawn although the source has some."""
    lost = sorted(asked & there) if kept or not asked else sorted(there - {"train"})
    if lost:
        flags = " and ".join(f"--{name}" for name in sorted(asked, reverse=True))
        what = f"{' and '.join(lost)} of the source ({where}) {'is' if len(lost) == 1 else 'are'}"
        return "changed", f"{flags}: {what} not kept"
    new = " and ".join(name for name, share in (("val", val), ("test", test)) if share > 0)
    return ("noted", f"{new} drawn from train ({where})") if new else None


def _origins(
    names: Sequence[str],
    splits: Sequence[str],
    kept: Mapping[int, SourceSplit],
    before: Mapping[str, str],
    config: ConvertConfig,
    rule: _Rule,
) -> dict[str, Counter[str]]:
    """How many images of each split are there by the source, by an earlier dataset, and by the rule."""
    by_where = {each.where: "" for each in kept.values()}
    for where in by_where:
        by_where[where] = describe([each for each in kept.values() if each.where == where])
    shares = [f"{name} {share:g}" for name, share in (("val", rule.val), ("test", rule.test)) if share]
    drawn = f"drawn by segkit ({', '.join([*shares, f'seed {config.seed}'])})" if shares else "drawn by segkit (train)"
    origins: dict[str, Counter[str]] = {}
    for index, (name, split) in enumerate(zip(names, splits, strict=True)):
        earlier = f"the earlier dataset in {config.keep_splits or config.out}"
        origin = by_where[kept[index].where] if index in kept else earlier if name in before else drawn
        origins.setdefault(origin, Counter())[split] += 1
    return origins
