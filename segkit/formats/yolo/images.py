"""YOLO's segmentation labels: a text file for each image, one polygon per line, coordinates relative to its size.

The labels of ``images/train/a.jpg`` are in ``labels/train/a.txt``, or in the same folder. Names of categories come from
``data.yaml`` (or any YAML file with ``names``) or ``classes.txt``.
"""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from segkit.data.files import find_file
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import AnnotatedImage, Finding, ReadFile
from segkit.errors import InputError
from segkit.formats.pictures.look import look
from segkit.formats.source import Source
from segkit.formats.yolo.data_yaml import read_names
from segkit.formats.yolo.labels import parse_line, to_instance
from segkit.formats.yolo.splits import read_splits


class ImageAndLabels(NamedTuple):
    """A picture, its label file (None: it has no instances), its name in reports, its split and where that is from."""

    picture: Path
    labels: Path | None
    key: str
    split: str | None = None
    split_from: str | None = None


def is_yolo(root: Path) -> bool:
    """Whether a folder has label files in YOLO's format."""
    return any(_is_label_file(path) for path in islice(root.rglob("*.txt"), 50))


def _is_label_file(path: Path) -> bool:
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
        return len(words) >= 5 and words[0].isdigit() and all(-0.1 <= float(word) <= 1.1 for word in words[1:5])
    except (OSError, ValueError):
        return False


def open_yolo(root: Path, images_dir: Path | None) -> Source:
    """All images that belong to the label files under a folder.

    Raises:
        InputError: There are none.
    """
    found: dict[str, ImageAndLabels] = {}  # by path below the folder
    for base in [root, *([images_dir] if images_dir is not None else [])]:
        for picture in sorted(p for p in base.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES):
            folders = _label_folders(picture, base, root)
            labels_file = find_file(folders, [f"{picture.stem}.txt"])
            if labels_file or folders[:-1]:  # an image without labels counts where there is a folder for them
                name = picture.relative_to(base).as_posix()
                found.setdefault(name, ImageAndLabels(picture, labels_file, _key(name)))
    if not any(each.labels is not None for each in found.values()):
        raise InputError(f"{root}: no images with YOLO label files", "expected images/a.jpg and labels/a.txt")
    names = read_names(root)
    labels = tuple(name for _, name in sorted(names.items()))
    splits, findings = read_splits(root, list(found))
    units = [
        each._replace(split=split, split_from=where)
        for name, each in found.items()
        for split, where in [splits.get(name, (None, None))]
    ]
    read_unit = partial(read, names=names)
    return Source("yolo", units, read_unit, len(units), labels=labels, findings=tuple(findings))


def _label_folders(picture: Path, base: Path, root: Path) -> list[Path]:
    """Where the labels of an image may be; its own folder is last."""
    parts = list(picture.parent.relative_to(base).parts)
    sisters = [
        root.joinpath(*parts[:index], "labels", *parts[index + 1 :])
        for index in range(len(parts) - 1, -1, -1)
        if parts[index] == "images"
    ]
    if not parts or "images" not in parts:
        sisters.append(root.joinpath("labels", *parts))
    return [folder for folder in sisters if folder.is_dir()] + [picture.parent]


def _key(name: str) -> str:
    """The name in reports: ``train/a.jpg`` for ``images/train/a.jpg``."""
    return "/".join(part for part in name.split("/") if part != "images")


def read(unit: ImageAndLabels, names: dict[int, str]) -> ReadFile:
    """Read one image's labels. Never raises for bad input: that becomes a finding."""
    lines: list[str] = []
    try:
        if unit.labels is not None:
            text = unit.labels.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines() if line.strip()]
        # YOLO trainers apply the EXIF orientation first.
        picture, frame, noticed = look(unit.picture, unit.key, None)
    except (InputError, OSError) as error:
        why = error.message if isinstance(error, InputError) else f"labels cannot be read: {error.strerror}"
        return ReadFile.left_out(unit.key, why, len(lines))
    findings = list(noticed)
    instances = []
    for number, line in enumerate(lines):
        name = None
        try:
            name, values = parse_line(line, names)
            instances.append(to_instance(name, values, *frame.drawn))
        except ValueError as error:
            findings.append(Finding(unit.key, "left out", str(error), number, name))
    image = AnnotatedImage(unit.key, picture, *frame.drawn, tuple(instances), unit.split, split_from=unit.split_from)
    return ReadFile(image, tuple(findings), len(lines))
