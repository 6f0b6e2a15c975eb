"""YOLO's segmentation labels: a text file for each image, one polygon per line, coordinates relative to its size.

Names of categories come from ``data.yaml`` (or any YAML file with ``names``), ``classes.txt`` or ``obj.names``.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from segkit.data.records import AnnotatedImage, Finding, ReadFile
from segkit.errors import InputError
from segkit.formats.pictures.look import look
from segkit.formats.source import Source
from segkit.formats.text import read_lines
from segkit.formats.yolo.data_yaml import read_data_yaml, yaml_files
from segkit.formats.yolo.files import has_label_files, pair_files
from segkit.formats.yolo.labels import LineRules, read_labels
from segkit.formats.yolo.splits import read_splits


class ImageAndLabels(NamedTuple):
    """A picture, its label file, its name in reports, its split and where that is from.

    Without a label file the picture has no instances; labels without a picture become a finding.
    """

    picture: Path | None
    labels: Path | None
    key: str
    split: str | None = None
    split_from: str | None = None


def is_yolo(root: Path, skip: Path | None = None) -> bool:
    """Whether a folder has label files in YOLO's format, or a ``data.yaml`` beside a folder for them.

    Args:
        root: The folder.
        skip: A folder to leave out.
    """
    if has_label_files(root, skip):
        return True
    return any(path.stem.lower() == "data" for path in yaml_files(root)) and any(
        path.is_dir() and path.name.lower() == "labels" for path in [*root.glob("*"), *root.glob("*/*")]
    )


def open_yolo(root: Path, images_dir: Path | None, skip: Path | None = None, data_yaml: Path | None = None) -> Source:
    """All images that belong to the label files under a folder.

    Args:
        root: The folder.
        images_dir: Another folder to look for pictures in.
        skip: A folder to leave out.
        data_yaml: The file with the names; None: the folder's own.

    Raises:
        InputError: There are none.
    """
    pairing = pair_files(root, images_dir, skip)
    if not any(labels is not None for _, labels in pairing.images.values()):
        count = f"; {len(pairing.orphans)} label files have no image" if pairing.orphans else ""
        raise InputError(
            f"{root}: no images with YOLO label files{count}", "expected images/a.jpg and labels/a.txt (--images-dir)"
        )
    described = read_data_yaml(root, data_yaml)
    splits, findings = read_splits(root, list(pairing.images), data_yaml)
    units = [
        ImageAndLabels(picture, labels, _key(name), *splits.get(name, (None, None)))
        for name, (picture, labels) in sorted(pairing.images.items())
    ]
    units += [ImageAndLabels(None, labels, name) for name, labels in sorted(pairing.orphans.items())]
    return Source(
        "yolo",
        units,
        partial(read, rules=LineRules(described.names, described.keypoints)),
        len(units),
        labels=tuple(dict.fromkeys(name for _, name in sorted(described.names.items()))),
        findings=(*described.findings, *pairing.findings, *findings),
    )


def _key(name: str) -> str:
    """The name in reports: ``train/a.jpg`` for ``images/train/a.jpg``."""
    return "/".join(part for part in name.split("/") if part != "images")


def read(unit: ImageAndLabels, rules: LineRules) -> ReadFile:
    """Read one image's labels. Never raises for bad input: that becomes a finding."""
    lines: Sequence[str] = ()
    try:
        if unit.labels is not None:
            lines = read_lines(unit.labels)
        if unit.picture is None:
            return _without_picture(unit, lines)
        picture, frame, noticed = look(unit.picture, unit.key, None)  # YOLO trainers apply the EXIF orientation first
    except InputError as error:
        name = unit.labels.name if unit.labels is not None else ""
        return ReadFile.left_out(unit.key, error.why(name), len(lines))
    instances, findings = read_labels(lines, rules, unit.key, *frame.drawn)
    findings = [*noticed, *findings]
    image = AnnotatedImage(unit.key, picture, *frame.drawn, tuple(instances), unit.split, split_from=unit.split_from)
    return ReadFile(image, tuple(findings), len(lines))


def _without_picture(unit: ImageAndLabels, lines: Sequence[str]) -> ReadFile:
    if lines:
        return ReadFile.left_out(unit.key, "no picture for this label file", len(lines))
    row = Finding(unit.key, "noted", "no picture for this empty label file", shapes=0)
    return ReadFile(None, (row,))
