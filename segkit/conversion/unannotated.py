"""What is in a source and was not read: pictures that no annotation file names, and folders that cannot be listed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os.path import abspath
from pathlib import Path, PurePosixPath

from segkit.conversion.spool import ImageEntry
from segkit.data.files import relative_path, walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding
from segkit.formats.pictures.trees import folded
from segkit.units import counted

_FORMATS = ("labelme", "coco", "panoptic", "via", "labelstudio", "isat", "cvat")  # whose files name their pictures
_MASKS = ("mask", "segmentation", "annot", "panoptic", "label")  # in names of folders: pictures there are masks
_REPORT = "report.json"  # a folder with it is a dataset that segkit wrote


def pictures_without_annotations(
    kind: str, root: Path, skip: Path, entries: Sequence[ImageEntry], findings: Iterable[Finding]
) -> list[Finding]:
    """A note with their number, and the first; none for formats that read pictures without annotations.

    Args:
        kind: The format of the source.
        root: The source.
        skip: The folder that is written.
        entries: The images that were read.
        findings: What was noted when they were read: pictures that were left out are named there.
    """
    if kind not in _FORMATS or not root.is_dir():
        return []
    used = {_normal(entry.file) for entry in entries if entry.file is not None}
    named = {_stem(entry.key) for entry in entries if entry.file is None}
    names = {folded(PurePosixPath(row.file).stem) for row in findings if row.action == "left out"}
    found = [
        name
        for path, name in _pictures(root, skip)
        if _normal(path) not in used and _stem(name) not in named and folded(path.stem) not in names
    ]
    if not found:
        return []
    why = f"{counted(len(found), 'image', 'images')} without an annotation file: not in the dataset"
    return [Finding(min(found), "noted", why, shapes=0)]


def folders_not_read(unreadable: Mapping[Path, str], root: Path) -> list[Finding]:
    """A row for each folder of a source that could not be listed: what it holds is not known.

    Args:
        unreadable: The folders, and why.
        root: The source.
    """
    return [
        Finding(relative_path(folder, root), "left out", f"a folder that cannot be read: {why}", shapes=0)
        for folder, why in sorted(unreadable.items())
        if folder.absolute().is_relative_to(root.absolute())
    ]


def _normal(path: str | Path) -> str:
    """Absolute, without ``..``; links are not followed: they are what the annotations name."""
    return abspath(path)  # noqa: PTH100 -- resolve() follows links


def _stem(name: str) -> str:
    return folded(PurePosixPath(name).with_suffix("").as_posix())


def _pictures(root: Path, skip: Path) -> Iterator[tuple[Path, str]]:
    """The pictures of a source, with their paths below it."""
    datasets: list[Path] = []
    for folder, names in walk_folders(root, skip):
        inside = folder.relative_to(root)
        if folder != root and _REPORT in names:
            datasets.append(folder)
        masks = any(word in part.casefold() for part in inside.parts for word in _MASKS)
        if masks or any(folder.is_relative_to(dataset) for dataset in datasets):
            continue
        for name in names:
            if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
                yield folder / name, (inside / name).as_posix()
