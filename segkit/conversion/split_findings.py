"""Findings on splits: what was not kept, what a group did not do, and leaks that the source itself has."""

from collections.abc import Hashable, Mapping, Sequence

from segkit.config.convert import ConvertConfig
from segkit.conversion.source_splits import SourceSplit
from segkit.conversion.split import SplitImage, group_names
from segkit.conversion.spool import ImageEntry
from segkit.data.records import Finding
from segkit.formats.splits import split_of_word

_LEAKS = {
    "picture": "leak: the same image is in {} and in {}, as the source has it",
    "look": "leak: near-duplicates are in {} and in {}, as the source has it",
    "group": "leak: images of one group (--group-by) are in {} and in {}, as the source has it",
}


def group_findings(images: Sequence[SplitImage], config: ConvertConfig, *, drawn: bool) -> list[Finding]:
    """What ``--group-by`` did not do.

    Raises:
        InputError: It matches no image.
    """
    if config.group_by is None:
        return []
    keys = [image.key for image in images]
    names = group_names(keys, config.group_by)
    whys = []
    alone = sum(name == key for name, key in zip(names, keys, strict=True))
    if alone and config.group_by != "dir":
        whys.append(f"--group-by: {alone} of {len(keys)} images are groups of their own")
    if drawn and len(set(names)) == 1 and len(keys) > 1:
        whys.append(f"--group-by: all {len(keys)} images are one group, so none can be held out")
    return [Finding(config.src, "noted", why, shapes=0) for why in whys]


def unknown_splits(entries: Sequence[ImageEntry]) -> list[Finding]:
    """Images whose files name a split of another name; CVAT calls the images of no split ``default``."""
    return [
        Finding(
            entry.key,
            "changed",
            f"its split {entry.split[:40]!r} is not kept: it is none of train, val, test",
            shapes=0,
        )
        for entry in entries
        if entry.split and split_of_word(entry.split) is None and entry.split.lower() != "default"
    ]


def moved(
    entries: Sequence[ImageEntry],
    own: Sequence[SourceSplit | None],
    splits: Sequence[str],
    kept: Mapping[int, SourceSplit],
) -> list[Finding]:
    """Images whose split is not the source's, or that the source has forgotten.

    Args:
        entries: The images.
        own: The split that the source has for each; None where it has none.
        splits: The split that each is in.
        kept: Those of the source's splits that are kept, by the number of the image; none: the source has no splits.
    """
    if not kept:
        return []
    findings = []
    for index, (entry, source, split) in enumerate(zip(entries, own, splits, strict=True)):
        if source is None:
            why = f"the source has no split for it: it is in {split}"
            findings.append(Finding(entry.key, "noted", why, shapes=0))
        elif index in kept and source.split != split:
            why = f"the source has it in {source.split}, the dataset of --keep-splits in {split}"
            findings.append(Finding(entry.key, "changed", why, shapes=0))
    return findings


def leaks(
    images: Sequence[SplitImage], splits: Sequence[str], group_by: str | None, kept: Mapping[int, SourceSplit]
) -> list[Finding]:
    """Images that belong together, and that the source has in several splits.

    Args:
        images: The images, with what they share with others.
        splits: The split that each is in.
        group_by: ``dir`` or a regular expression, whose matches belong together.
        kept: Those of the source's splits that are kept; none: the source has no splits.
    """
    if not kept:
        return []
    names = group_names([image.key for image in images], group_by) if group_by is not None else None
    first: dict[tuple[str, Hashable], str] = {}
    findings = []
    for index, (image, split) in enumerate(zip(images, splits, strict=True)):
        for shared in (*image.shared, *([("group", names[index])] if names is not None else [])):
            other = first.setdefault(shared, split)
            if other != split:
                why = _LEAKS[shared[0]].format(*sorted((other, split)))
                findings.append(Finding(image.key, "noted", why, shapes=0))
    return findings
