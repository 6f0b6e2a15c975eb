"""The split that the name of a folder or of a file means: one rule for all formats.

A name is read by its words: ``train2017``, ``val_v2``, ``Test-Images`` and ``defects_train_v2`` have one word that
names a split. Words of two splits (``train_val``) name none. A name is exact if its other words say nothing about the
content: a year, a number, a version, ``images``. Others (``tensile_test``) count only in a source that has another
split: alone, they are more likely names of something else.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val", "evaluation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_SUFFIXES = ("set", "data", "images", "imgs")  # words that are written together: trainset
_NEUTRAL = frozenset({
    "annot", "annotation", "annotations", "coco", "data", "dataset", "final", "fold", "frames", "image", "images",
    "img", "imgs", "info", "instances", "json", "keypoints", "labelme", "labels", "lvis", "masks", "new", "obj",
    "panoptic", "part", "person", "photos", "pics", "pictures", "segmentation", "semantic", "set", "split", "stuff",
    "subset", "v", "ver", "version", "via", "voc", "yolo",
})  # fmt: skip
_NNUNET = re.compile(r"(?:images|labels)(Tr|Val|Ts)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")


class NamedSplit(NamedTuple):
    """A split, and the name of the folder or file that names it."""

    split: str
    name: str
    exact: bool


def split_of_word(word: str) -> str | None:
    """The split that a word means: ``valid`` is ``val``, ``trainset`` is ``train``."""
    word = word.lower()
    for suffix in _SUFFIXES:
        word = word.removesuffix(suffix) or word
    return _SPLITS.get(word)


@lru_cache(maxsize=1 << 16)
def split_of_name(name: str) -> NamedSplit | None:
    """The split that a folder, or a file without its ending, is named after."""
    if (found := _NNUNET.fullmatch(name)) is not None:
        return NamedSplit({"Tr": "train", "Val": "val", "Ts": "test"}[found[1]], name, True)
    words = [word.lower() for word in _WORD.findall(name)]
    named = {word: split for word in words if (split := split_of_word(word))}
    splits = set(named.values())
    if splits == {"test", "val"} and named.keys() & {"dev"} and len(named) == 2:
        splits = {"test"}  # COCO's test-dev
    if len(splits) != 1:
        return None
    rest = (word for word in words if word not in named)
    return NamedSplit(splits.pop(), name, all(word in _NEUTRAL or len(word) == 1 for word in rest))


def without_split(name: str) -> str:
    """A name without the words that name a split: ``instances_2017`` of ``instances_train2017``."""
    return _WORD.sub(lambda word: "" if split_of_word(word[0]) else word[0], name)


def splits_of_paths(paths: Sequence[tuple[str, ...]]) -> list[NamedSplit | None]:
    """The split that each path is named after, if any.

    In a path with several such names the exact ones count. Of these it is the outermost, or the innermost where that
    tells more splits apart: ``test/train`` and ``test/val``.

    Args:
        paths: The names of the folders from the outermost, for each image. The source's own folder is not among them.
    """
    candidates = {path: _candidates(path) for path in set(paths)}
    splits_known = {each.split for named in candidates.values() for each in named}
    if len(splits_known) < 2:
        candidates = {path: [each for each in named if each.exact] for path, named in candidates.items()}
    outer, inner = ({path: named[at] for path, named in candidates.items() if named} for at in (0, -1))
    more = len({each.split for each in inner.values()}) > len({each.split for each in outer.values()})
    chosen = inner if more else outer
    return [chosen.get(path) for path in paths]


def _candidates(path: tuple[str, ...]) -> list[NamedSplit]:
    named = [split for part in path if (split := split_of_name(part))]
    return [each for each in named if each.exact] or named
