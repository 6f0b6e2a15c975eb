"""Which images are for training, validation and test.

Images that must stay together (a folder, a match in the name) form a group. Groups are sorted into strata by the
rarest category in them, so that rare categories reach every split; inside a stratum their order is that of a hash
of their name and the seed. New pictures therefore move at most one group of a stratum over each border.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha1

from segkit.dataset import AnnotatedImage
from segkit.errors import ConfigError

SPLITS = ("train", "val", "test")


def assign_splits(
    images: Sequence[AnnotatedImage], *, val: float, test: float, group_by: str | None, seed: int
) -> list[str]:
    """Give every image its split.

    Args:
        images: The images, in any order.
        val: Share for validation, 0 to 1.
        test: Share for test.
        group_by: ``dir`` or a regular expression on ``key``; None leaves each image on its own.
        seed: Changes the order in the strata.

    Returns:
        A split name for every image. Each split asked for has at least one group if there are enough.
    """
    totals = Counter(instance.label for image in images for instance in image.instances)
    groups: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        groups[_group(image.key, group_by)].append(index)
    strata: dict[str, list[str]] = defaultdict(list)
    for name, members in groups.items():
        labels = {instance.label for index in members for instance in images[index].instances}
        rarest = min(labels, key=lambda label: (totals[label], label)) if labels else ""
        strata[rarest].append(name)

    out = ["train"] * len(images)
    taken, wanted = {"val": 0, "test": 0}, {"val": 0.0, "test": 0.0}
    for stratum in sorted(strata, key=lambda label: (totals[label], label)):
        names = sorted(strata[stratum], key=lambda name: sha1(f"{seed}:{name}".encode()).digest())
        for split, share in (("test", test), ("val", val)):
            wanted[split] += share * len(strata[stratum])
            count = round(wanted[split] + 1e-9) - taken[split]
            spare = len(names) if val + test >= 1 else len(names) - 1  # training keeps one of every category
            count = max(0, min(count, spare))
            taken[split] += count
            for name in names[:count]:
                for index in groups[name]:
                    out[index] = split
            names = names[count:]
    _fill_empty(out, groups, seed, [split for split, share in (("val", val), ("test", test)) if share > 0])
    return out


def _fill_empty(out: list[str], groups: dict[str, list[int]], seed: int, asked: list[str]) -> None:
    """Give a split that was asked for, but got nothing, one of the training groups."""
    for split in asked:
        training = sorted(
            (name for name, members in groups.items() if out[members[0]] == "train"),
            key=lambda name: sha1(f"{seed}:{name}".encode()).digest(),
        )
        if split not in out and len(training) > 1:
            for index in groups[training[0]]:
                out[index] = split


def _group(key: str, group_by: str | None) -> str:
    if group_by is None:
        return key
    if group_by == "dir":
        return key.rpartition("/")[0]
    try:
        match = re.search(group_by, key)
    except re.error as error:
        raise ConfigError(f"--group-by {group_by!r}: not a regular expression: {error}") from error
    return key if match is None else match[match.re.groups and 1]
