"""Findings on a dataset as a whole: its files, pictures that are in two splits, labels, sizes, depths."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from segkit.conversion.contents import AnnotatedImage, Contents
from segkit.conversion.label_checks import inspect_labels
from segkit.conversion.near_duplicates import group_similar
from segkit.data.depth import is_deep
from segkit.data.geometry import resized_dimensions
from segkit.data.pictures import opened
from segkit.errors import InputError
from segkit.review.findings import CheckFinding, Fact
from segkit.units import counted

_ALIKE = 0.9  # correlation of two thumbnails from which on they show the same: 16 x 16 grey values
_LEAST_SIDE = 8.0  # px, the root of the area: two cells of the finest features of a detector
_SHARE, _FEW = 0.05, 3  # of a category that may be smaller, and instances
_DEPTHS = {"1": "1 bit", "P": "a palette", "CMYK": "CMYK colours", "LAB": "Lab colours", "F": "floating-point numbers"}


def file_findings(contents: Contents) -> Iterator[CheckFinding]:
    """Files and shapes that ``convert`` leaves out."""
    for row in contents.findings:
        if row.action == "left out":
            kind: Fact = "unreadable" if row.shape is None else "left out"
            yield CheckFinding(kind, row.why, row.file, row.shape, row.label)


def label_findings(contents: Contents) -> tuple[list[CheckFinding], list[str]]:
    """Labels that differ by accident, and categories that a split lacks; notes on categories of few instances."""
    findings, notes = [], []
    for advice in inspect_labels({label: contents.counts[label] for label in contents.labels}, contents.splits):
        remedy = f" ({advice.remedy})" if advice.remedy else ""
        if advice.concern == "few instances":
            notes.append(f"{advice.why}{remedy}")
            continue
        findings.append(CheckFinding(advice.concern, f"{advice.why}{remedy}", category=advice.labels[0]))
    return findings, notes


def repeated_pictures(contents: Contents) -> Iterator[CheckFinding]:
    """Pictures that are, or look like, a picture of another split."""
    groups: dict[int, list[int]] = defaultdict(list)
    for n, group in enumerate(group_similar([image.entry.thumbnail for image in contents.images])):
        if group is not None and contents.images[n].split is not None:
            groups[group].append(n)
    for members in groups.values():
        splits = [contents.images[n].split for n in members]
        if len(set(splits)) < 2:
            continue
        home = "train" if "train" in splits else splits[0]
        learnt = [n for n, split in zip(members, splits, strict=True) if split == home]
        for n in (n for n, split in zip(members, splits, strict=True) if split != home):
            other, alike = _most_alike(contents.images, n, learnt)
            if alike >= _ALIKE:
                yield _repeated(contents.images, n, other)


def _repeated(images: Sequence[AnnotatedImage], n: int, other: int) -> CheckFinding:
    one, two = images[n], images[other]
    same = _are_same(one.picture, two.picture)
    kind: Fact = "same picture in two splits" if same else "near-duplicate pictures in two splits"
    verb = "is the same file as" if same else "looks like"
    remedy = "convert --group-similar keeps them in one split"
    why = f"in {one.split}, {verb} {two.name} in {two.split}: scores are too high then ({remedy})"
    return CheckFinding(kind, why, one.name, split=one.split, place=(n, None))


def _most_alike(images: Sequence[AnnotatedImage], n: int, others: Sequence[int]) -> tuple[int, float]:
    """Which of some pictures looks most like one, and their correlation.

    The difference alone does not do: a picture of little but background is close to all that are like that.
    """
    pixels = np.array([np.frombuffer(images[i].entry.thumbnail or b"", np.uint8) for i in (n, *others)], np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(pixels, axis=1)
    products = pixels[1:] @ pixels[0]
    alike = np.where(lengths[1:] * lengths[0] > 0, products / np.maximum(lengths[1:] * lengths[0], 1e-9), 0.0)
    flat = (lengths[1:] == 0) & (lengths[0] == 0)  # nothing in either: only the same bytes are the same
    alike = np.where(flat & [_are_same(images[n].picture, images[i].picture) for i in others], 1.0, alike)
    best = int(alike.argmax())
    return others[best], float(alike[best])


def _are_same(one: Path | None, other: Path | None) -> bool:
    with suppress(OSError):
        if one is not None and other is not None:
            return one.resolve() == other.resolve() or (
                one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
            )
    return False


def depth_findings(contents: Contents) -> Iterator[CheckFinding]:
    """Pictures whose values are of another kind than those of most pictures: 16 bits among 8, a palette, CMYK."""
    kinds = [_depth(image.picture) for image in contents.images]
    known = Counter(kind for kind in kinds if kind is not None)
    if len(known) < 2:
        return
    usual = known.most_common(1)[0][0]
    for n, (image, kind) in enumerate(zip(contents.images, kinds, strict=True)):
        if kind not in (None, usual):
            why = f"has {kind}; {known[usual]} of {known.total()} pictures have {usual}"
            yield CheckFinding("odd depth", why, image.name, split=image.split, place=(n, None))


def _depth(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with opened(path, path.name) as picture:
            mode = picture.mode
            if mode != "F" and is_deep(picture):
                return "more than 8 bits"
            return _DEPTHS.get(mode, "8 bits")
    except InputError:
        return None


def own_size(contents: Contents, limit: int = 800) -> int:
    """The shorter side of most pictures, or ``limit`` if it is less: what ``train`` takes where nothing is said."""
    return min(limit, int(np.median([min(image.size) for image in contents.images])))


def size_findings(
    contents: Contents, size: int, max_size: int
) -> tuple[list[CheckFinding], dict[str, dict[str, float]]]:
    """Categories that are too small at the model's scale, and the sizes of all.

    Args:
        contents: What was read.
        size: Shorter side of images as the model gets them.
        max_size: Longest side.
    """
    sides: dict[str, list[float]] = defaultdict(list)
    for image in contents.images:
        scale = resized_dimensions(*image.size, size, max_size)[0] / image.entry.height
        for instance in image.instances:
            if not instance.iscrowd:
                sides[instance.label].append(instance.area**0.5 * scale)
    findings, table = [], {}
    for label in contents.labels:
        if not (some := sides.get(label)):
            continue
        low, middle, high = (float(value) for value in np.quantile(some, [0, 0.5, 1]))
        small = sum(side < _LEAST_SIDE for side in some)
        table[label] = {"instances": len(some), "smallest": low, "median": middle, "largest": high, "too_small": small}
        if small >= _FEW and small > _SHARE * len(some):
            why = (
                f"{small} of {counted(len(some), 'instance', 'instances')} of {label!r} cover less than "
                f"{_LEAST_SIDE:g}x{_LEAST_SIDE:g} pixels at size {size}: hardly to be learnt; try a larger --size, "
                "or cut the pictures into parts"
            )
            findings.append(CheckFinding("too small for the model", why, category=label))
    return findings, table


def at_the_border(contents: Contents) -> tuple[int, int]:
    """How many instances the border of their picture cuts, and how many there are."""
    cut = total = 0
    for image in contents.images:
        height, width = image.size
        for instance in image.instances:
            x, y, w, h = instance.bbox
            total += 1
            cut += x < 1 or y < 1 or x + w > width - 1 or y + h > height - 1
    return cut, total
