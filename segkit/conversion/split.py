"""Which images are for training, validation and test.

Images that must stay together (of one folder, with one match in the name, that look alike) form a group. Groups are
sorted into strata by the rarest category in them. In a stratum, groups are ordered by a hash of their name and the
seed, and each split takes from the front until it has its share of the instances of that category. Images that are
added later therefore move at most one or two groups of a stratum, and none that an earlier dataset already has.
Images that the source itself has put into a split keep it, whatever group they are in.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from hashlib import sha1
from typing import NamedTuple

from segkit.conversion.union_find import UnionFind
from segkit.errors import USAGE, InputError

SPLITS = ("train", "val", "test")


class GroupError(InputError):
    """``--group-by`` fits no path: the option is wrong, not the files."""

    exit_code = USAGE


class SplitImage(NamedTuple):
    """An image to split: its key, the label of each instance, and what it shares with images of its group."""

    key: str
    labels: Sequence[str]
    shared: tuple[tuple[str, Hashable], ...] = ()


class _Group(NamedTuple):
    name: str
    members: list[int]
    labels: Counter[str]


class _Assignment:
    """The splits so far: of every image, and the instances of each label in ``val`` and ``test``."""

    def __init__(self, num_images: int) -> None:
        self.splits = ["train"] * num_images
        self.instances = {"val": Counter[str](), "test": Counter[str]()}

    def put(self, group: _Group, split: str) -> None:
        """Put a group into a split."""
        for index in group.members:
            self.splits[index] = split
        if split in self.instances:
            self.instances[split].update(group.labels)


def assign_splits(
    images: Sequence[SplitImage],
    *,
    val: float,
    test: float,
    group_by: str | None,
    seed: int,
    fixed: Mapping[int, str] = {},
    kept: Mapping[int, str] = {},
) -> list[str]:
    """Give every image its split.

    Args:
        images: The images, in any order.
        val: Share of instances (and of images) for validation, 0 to 1.
        test: Share for test.
        group_by: ``dir`` or a regular expression on ``key``; None leaves each image on its own.
        seed: Changes the order in the strata.
        fixed: Splits that are known already, by index; the whole group of such an image follows it.
        kept: Likewise the splits of the source; these images keep them even if their group is in several, and do not
            count in the shares.

    Returns:
        A split name for every image. Each split asked for has at least one group if there are enough.

    Raises:
        GroupError: ``group_by`` matches no image.
    """
    assignment = _Assignment(len(images))
    free, totals = [], Counter[str]()
    for group in _groups(images, group_names([image.key for image in images], group_by)):
        source_split = next((kept[index] for index in group.members if index in kept), None)
        if source_split is not None:
            assignment.put(group, source_split)
            continue
        totals.update(group.labels)
        split = next((fixed[index] for index in group.members if index in fixed), None)
        if split is None:
            free.append(group)
        else:
            assignment.put(group, split)
    for index, split in kept.items():
        assignment.splits[index] = split
    shares = {"test": test, "val": val}
    _split_strata(free, totals, shares, seed, assignment)
    _fill_empty(free, [split for split in ("val", "test") if shares[split] > 0], seed, assignment)
    return assignment.splits


def assign_folds(images: Sequence[SplitImage], folds: int, group_by: str | None, seed: int) -> list[int]:
    """Divide images into folds for cross-validation, by the rule of ``assign_splits``: the share of each is the same.

    Args:
        images: The images.
        folds: How many.
        group_by: As in ``assign_splits``: a group is in one fold.
        seed: Changes the order in the strata.

    Returns:
        The fold of every image, from 1.

    Raises:
        InputError: There are fewer groups of images than folds.
    """
    names = group_names([image.key for image in images], group_by)
    joined = [image._replace(shared=(*image.shared, ("fold", name))) for image, name in zip(images, names, strict=True)]
    out, left = [folds] * len(images), list(range(len(images)))
    for fold in range(1, folds):
        share = 1 / (folds - fold + 1)
        splits = assign_splits([joined[index] for index in left], val=share, test=0.0, group_by=None, seed=seed)
        for index, split in zip(left, splits, strict=True):
            out[index] = fold if split == "val" else out[index]
        left = [index for index, split in zip(left, splits, strict=True) if split == "train"]
    if len(set(out)) < folds:
        groups = len(_groups(joined, names))
        fewer = max(2, groups // 2)
        raise InputError(
            f"--folds {folds}: too many for {groups} images or groups of images",
            f"use --folds {fewer}" if fewer < folds else "each fold needs images of its own: annotate more",
        )
    return out


def _split_strata(
    groups: Sequence[_Group], totals: Counter[str], shares: Mapping[str, float], seed: int, assignment: _Assignment
) -> None:
    """Give validation and test their share of every stratum; what is left stays in training."""
    strata: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        strata[min(group.labels, key=lambda label: _rarity(totals, label), default="")].append(group)
    owed = dict.fromkeys(shares, 0.0)  # groups that a split should have had of the strata so far, less those it got
    for label in sorted(strata, key=lambda label: _rarity(totals, label)):
        queue = _in_order(strata[label], seed)
        weight, num_groups = sum(_weight(group, label) for group in queue), len(queue)
        for split, share in shares.items():
            by_groups = share * num_groups + owed[split]
            by_instances = by_groups
            if label:
                missing = share * totals[label] - assignment.instances[split][label]
                by_instances = min(max(missing / weight, 0.0), 1.0) * num_groups
            available = len(queue) if sum(shares.values()) >= 1 else len(queue) - 1  # training keeps one of every label
            wanted = (by_groups + by_instances) / 2
            count = _take(queue[: max(available, 0)], label, wanted, num_groups / weight)
            owed[split] = by_groups - count
            for group in queue[:count]:
                assignment.put(group, split)
            queue = queue[count:]


def _in_order(groups: Iterable[_Group], seed: int) -> list[_Group]:
    return sorted(groups, key=lambda group: sha1(f"{seed}:{group.name}".encode()).digest())


def group_names(keys: Sequence[str], group_by: str | None) -> list[str]:
    """The name of the group of each image: of its folder, of what matches in its key, or the key itself.

    Args:
        keys: Of the images.
        group_by: ``dir``, a regular expression, or None.

    Raises:
        GroupError: The expression matches no key.
    """
    if group_by is None:
        return list(keys)
    if group_by == "dir":
        return [key.rpartition("/")[0] for key in keys]
    matches = [re.search(group_by, key) for key in keys]
    if keys and not any(matches):
        raise GroupError(
            f"--group-by {group_by!r}: matches none of {len(keys)} paths",
            f"it is a regular expression for paths such as {keys[0]}, or dir",
        )
    return [
        key if match is None else str(match[match.re.groups and 1]) for key, match in zip(keys, matches, strict=True)
    ]


def _groups(images: Sequence[SplitImage], names: Sequence[str]) -> list[_Group]:
    """Images that share a name or something else, directly or through others."""
    linked = UnionFind(len(images))
    first: dict[Hashable, int] = {}
    for index, image in enumerate(images):
        for what in (("name", names[index]), *image.shared):
            linked.join(index, first.setdefault(what, index))
    return [
        _Group(
            min(names[index] for index in members),
            members,
            Counter(label for index in members for label in images[index].labels),
        )
        for members in linked.sets()
    ]


def _rarity(totals: Counter[str], label: str) -> tuple[int, str]:
    """Rare labels first; by powers of two, so that a few more instances do not change the order."""
    return totals[label].bit_length(), label


def _weight(group: _Group, label: str) -> int:
    return group.labels[label] if label else 1


def _take(queue: Sequence[_Group], label: str, wanted: float, scale: float) -> int:
    """How many groups from the front come nearest to ``wanted``."""
    best, reached, total = 0, 0.0, 0.0
    for count, group in enumerate(queue, 1):
        total += _weight(group, label) * scale
        if abs(total - wanted) > abs(reached - wanted) + 1e-9:
            break
        best, reached = count, total
    return best


def _fill_empty(groups: Sequence[_Group], asked: Sequence[str], seed: int, assignment: _Assignment) -> None:
    """Give a split that was asked for, and got nothing, one of the training groups."""
    for split in asked:
        training = _in_order((g for g in groups if assignment.splits[g.members[0]] == "train"), seed)
        if split not in assignment.splits and len(training) > 1:
            assignment.put(training[0], split)
