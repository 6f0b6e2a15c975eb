"""Lists of images (``train.txt``, ``val.txt``) beside the images of a source, whatever its format.

YOLO's ``data.yaml`` and VOC's ``ImageSets`` are read by their formats; here are the lists that a source has without
saying so: ``autosplit_train.txt`` of Ultralytics, ``cat_train.txt`` of VOC's classes, ``train.txt`` beside masks.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segkit.conversion.spool import ImageEntry
from segkit.data.records import Finding
from segkit.formats.split_lists import SplitLists, read_list
from segkit.formats.splits import NamedSplit, split_of_name

_LARGEST = 64 << 20  # bytes of a list
_MOST_FOLDERS = 50  # above the images that are searched for lists


def with_listed_splits(
    entries: Sequence[ImageEntry], root: Path | None
) -> tuple[tuple[ImageEntry, ...], list[Finding]]:
    """The images with the splits that lists give them, and findings.

    Nothing changes where the source itself says the split of an image.

    Args:
        entries: The images.
        root: The folder of the source; None: it has none.
    """
    if root is None or any(entry.split for entry in entries) or not (found := _lists_in(entries, root)):
        return tuple(entries), []
    for names in (_pictures(entries), _stems(entries)):
        by_name: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(names):
            by_name[name].append(index)
        lists = SplitLists(by_name)
        taken = [lists.add_known(named.split, _relative(path, root), read_list(path)) for path, named in found]
        if any(taken):
            splits, findings = lists.results()
            changed = list(entries)
            for name, (split, where) in splits.items():
                for index in by_name[name]:
                    changed[index] = replace(entries[index], split=split, split_from=where)
            return tuple(changed), findings
    return tuple(entries), []


def _folders_of(entries: Sequence[ImageEntry], root: Path) -> list[Path]:
    """The source's folder and those that its images are in, from the outermost."""
    inside = {parent for entry in entries for parent in PurePosixPath(entry.key).parents}
    inside -= {path for path in inside if path.is_absolute() or ".." in path.parts}
    return [root / path for path in sorted(inside, key=lambda path: (len(path.parts), path))[:_MOST_FOLDERS]]


def _lists_in(entries: Sequence[ImageEntry], root: Path) -> list[tuple[Path, NamedSplit]]:
    """Text files that are named after a split; names with other words count only where two splits have lists."""
    folders, stems = _folders_of(entries, root), {PurePosixPath(entry.name).stem for entry in entries}
    paths = dict.fromkeys(
        path for folder in folders for path in sorted([*folder.glob("*.txt"), *(folder / "ImageSets").rglob("*.txt")])
    )
    texts = [path for path in paths if path.stem not in stems]  # labels of an image that is called train_1.jpg
    named = [(path, split) for path in texts if (split := split_of_name(path.stem)) and _is_small(path)]
    exact = [each for each in named if each[1].exact]
    return exact or (named if len({split.split for _, split in named}) > 1 else [])


def _is_small(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size <= _LARGEST
    except OSError:
        return False


def _pictures(entries: Sequence[ImageEntry]) -> list[str]:
    """The paths of the pictures below the source."""
    return [(PurePosixPath(entry.key).parent / entry.name).as_posix() for entry in entries]


def _stems(entries: Sequence[ImageEntry]) -> list[str]:
    return [str(PurePosixPath(name).with_suffix("")) for name in _pictures(entries)]


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
