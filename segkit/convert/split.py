"""Which images are for training, validation and test.

Images that must stay together (a folder, a match in the name, a look) form a group. Groups are sorted into strata by
the rarest category in them; inside a stratum their order is that of a hash of their name and the seed, and each split
takes from the front until it has its share of the instances of that category. New pictures therefore move at most a
group or two of a stratum over each border, and none at all that an earlier dataset already placed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from hashlib import sha1
from typing import NamedTuple

from segkit.convert.union_find import UnionFind
from segkit.errors import ConfigError

SPLITS = ("train", "val", "test")


class Member(NamedTuple):
    """What of an image matters here: its key, a label for each instance, and what ties it to other images."""

    key: str
    labels: Sequence[str]
    ties: tuple[Hashable, ...] = ()


class _Group(NamedTuple):
    name: str
    members: list[int]
    labels: Counter[str]


def assign_splits(
    images: Sequence[Member],
    *,
    val: float,
    test: float,
    group_by: str | None,
    seed: int,
    fixed: Mapping[str, str] = {},
) -> list[str]:
    """Give every image its split.

    Args:
        images: The images, in any order.
        val: Share of instances (and of images) for validation, 0 to 1.
        test: Share for test.
        group_by: ``dir`` or a regular expression on ``key``; None leaves each image on its own.
        seed: Changes the order in the strata.
        fixed: Splits of keys that are settled already; groups with one of them follow it.

    Returns:
        A split name for every image. Each split asked for has at least one group if there are enough.
    """
    out = ["train"] * len(images)
    groups = _groups(images, group_by)
    totals: Counter[str] = Counter()
    for group in groups:
        totals += group.labels
    placed = {"val": Counter[str](), "test": Counter[str]()}
    free = []
    for group in groups:
        settled = [fixed[images[index].key] for index in group.members if images[index].key in fixed]
        if settled:
            _put(group, settled[0], out, placed)
        else:
            free.append(group)
    strata: dict[str, list[_Group]] = defaultdict(list)
    for group in free:
        strata[min(group.labels, key=lambda label: _rarity(totals, label), default="")].append(group)
    owed = {"val": 0.0, "test": 0.0}  # groups that a split should have had of the strata so far, less those it got
    for label in sorted(strata, key=lambda label: _rarity(totals, label)):
        queue = sorted(strata[label], key=lambda group: sha1(f"{seed}:{group.name}".encode()).digest())
        everything = sum(_weight(group, label) for group in queue)
        size = len(queue)
        for split, share in (("test", test), ("val", val)):
            by_groups = share * size + owed[split]
            lacking = share * (totals[label] if label else everything) - placed[split][label]
            by_instances = min(max(lacking / everything, 0.0), 1.0) * size if label else by_groups
            spare = len(queue) if val + test >= 1 else len(queue) - 1  # training keeps one of every category
            count = _take(queue[: max(spare, 0)], label, (by_groups + by_instances) / 2, size / everything)
            owed[split] = by_groups - count
            for group in queue[:count]:
                _put(group, split, out, placed)
            queue = queue[count:]
    _fill_empty(out, free, seed, [split for split, share in (("val", val), ("test", test)) if share > 0])
    return out


def _groups(images: Sequence[Member], group_by: str | None) -> list[_Group]:
    """Images that share a name or a tie, directly or through others."""
    linked = UnionFind(len(images))
    first: dict[Hashable, int] = {}
    names = [_group_name(image.key, group_by) for image in images]
    for index, image in enumerate(images):
        for what in (("name", names[index]), *image.ties):
            linked.join(index, first.setdefault(what, index))
    return [
        _Group(
            min(names[index] for index in some),
            some,
            Counter(label for index in some for label in images[index].labels),
        )
        for some in linked.sets()
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


def _put(group: _Group, split: str, out: list[str], placed: Mapping[str, Counter[str]]) -> None:
    for index in group.members:
        out[index] = split
    if split in placed:
        placed[split].update(group.labels)


def _fill_empty(out: list[str], groups: Sequence[_Group], seed: int, asked: list[str]) -> None:
    """Give a split that was asked for, but got nothing, one of the training groups."""
    for split in asked:
        training = sorted(
            (group for group in groups if out[group.members[0]] == "train"),
            key=lambda group: sha1(f"{seed}:{group.name}".encode()).digest(),
        )
        if split not in out and len(training) > 1:
            for index in training[0].members:
                out[index] = split


def _group_name(key: str, group_by: str | None) -> str:
    if group_by is None:
        return key
    if group_by == "dir":
        return key.rpartition("/")[0]
    try:
        match = re.search(group_by, key)
    except re.error as error:
        raise ConfigError(f"--group-by {group_by!r}: not a regular expression: {error}") from error
    return key if match is None else str(match[match.re.groups and 1])
