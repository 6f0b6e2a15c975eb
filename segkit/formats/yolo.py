"""YOLO's segmentation labels: a text file for each picture, a polygon a line, coordinates as shares of the picture.

``images/train/a.jpg`` has ``labels/train/a.txt``; pictures and labels in one folder will do. Names of categories come
from ``data.yaml`` (or any YAML file with ``names``) or ``classes.txt``.
"""

from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from segkit.data.masks import measure
from segkit.data.pictures import PICTURE_SUFFIXES, read_header
from segkit.data.records import AnnotatedImage, Finding, Instance, Picture, ReadFile
from segkit.errors import InputError


class LabelledPicture(NamedTuple):
    """A picture, its label file (None: nothing is in it), and its name in reports."""

    picture: Path
    labels: Path | None
    key: str


def is_yolo(root: Path) -> bool:
    """Whether a folder has label files of YOLO's kind."""
    return any(_looks_right(path) for path in islice(root.rglob("*.txt"), 50))


def _looks_right(path: Path) -> bool:
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
        return len(words) >= 5 and words[0].isdigit() and all(-0.1 <= float(word) <= 1.1 for word in words[1:5])
    except (OSError, ValueError):
        return False


def read_names(root: Path) -> dict[int, str]:
    """Category names by number."""
    import yaml  # noqa: PLC0415 -- few conversions need it

    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            names = yaml.safe_load(path.read_text(encoding="utf-8")).get("names")
        except (OSError, ValueError, AttributeError, yaml.YAMLError):
            continue
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
        if isinstance(names, dict) and all(isinstance(number, int) for number in names):
            return {number: str(name) for number, name in names.items()}
    for path in (root / "classes.txt", root / "labels" / "classes.txt"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return {number: name for number, line in enumerate(lines) if (name := line.strip())}
    return {}


def open_yolo(root: Path, images_dir: Path | None) -> tuple[list[LabelledPicture], dict[int, str]]:
    """All pictures that belong to the label files under a folder, and the names of categories.

    Raises:
        InputError: There are none.
    """
    found = []
    for place in [root, *([images_dir] if images_dir is not None else [])]:
        for picture in sorted(p for p in place.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES):
            folders = _label_folders(picture, place, root)
            there = [folder / f"{picture.stem}.txt" for folder in folders if (folder / f"{picture.stem}.txt").is_file()]
            if there or folders[:-1]:  # a picture without labels counts where its folder has a sister for labels
                key = _key(picture.relative_to(place).as_posix())
                found.append(LabelledPicture(picture, there[0] if there else None, key))
    if not any(each.labels is not None for each in found):
        raise InputError(f"{root}: no images with YOLO label files", "expected images/a.jpg and labels/a.txt")
    return found, read_names(root)


def _label_folders(picture: Path, place: Path, root: Path) -> list[Path]:
    """Where the labels of a picture may be, the picture's own folder last."""
    parts = list(picture.parent.relative_to(place).parts)
    sisters = [
        root.joinpath(*parts[:index], "labels", *parts[index + 1 :])
        for index in range(len(parts) - 1, -1, -1)
        if parts[index] == "images"
    ]
    if not parts or "images" not in parts:
        sisters.append(root.joinpath("labels", *parts))
    return [folder for folder in sisters if folder.is_dir()] + [picture.parent]


def _key(name: str) -> str:
    """``images/train/a.jpg`` is ``train/a.jpg``: the folder that all have says nothing."""
    return "/".join(part for part in name.split("/") if part != "images")


def read(unit: LabelledPicture, names: dict[int, str]) -> ReadFile:
    """Read one picture's labels. Never raises for bad input: that becomes a finding."""
    lines: list[str] = []
    try:
        if unit.labels is not None:
            text = unit.labels.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines() if line.strip()]
        header = read_header(unit.picture, unit.picture.name)
    except (InputError, OSError) as error:
        why = error.message if isinstance(error, InputError) else f"labels cannot be read: {error.strerror}"
        return ReadFile(None, (Finding(unit.key, "left out", why, shapes=len(lines)),), len(lines))
    findings: list[Finding] = []
    instances = []
    height, width = header.upright  # what trains on these labels turns pictures before it scales them
    for number, line in enumerate(lines):
        instance = _instance(line, number, unit.key, names, height, width, findings)
        if instance is not None:
            instances.append(instance)
    picture = Picture(unit.picture.name, unit.picture, exif="apply" if header.orientation != 1 else "none")
    image = AnnotatedImage(unit.key, picture, height, width, tuple(instances))
    return ReadFile(image, tuple(findings), len(lines))


def _instance(
    line: str, number: int, key: str, names: dict[int, str], height: int, width: int, findings: list[Finding]
) -> Instance | None:
    def left_out(why: str) -> None:
        findings.append(Finding(key, "left out", why, number, name))

    name = None
    try:
        words = line.split()
        category = int(float(words[0]))
        values = [float(word) for word in words[1:]]
    except (ValueError, OverflowError):
        left_out("not a line of numbers")
        return None
    name = names.get(category, f"class_{category}")
    if len(values) in (4, 5):
        left_out("a box without a segmentation")
        return None
    if len(values) < 6 or len(values) % 2 or not all(abs(value) < 100 for value in values):
        left_out("not a polygon of three points or more")
        return None
    polygon = [value * (height if index % 2 else width) for index, value in enumerate(values)]
    area, bbox = measure([polygon], height, width)
    if area == 0:
        left_out("covers no pixel of the image")
        return None
    return Instance(name, [polygon], bbox, area)


def document(names: list[str], splits: list[str]) -> dict[str, Any]:
    """What ``data.yaml`` says."""
    return {"path": ".", **{split: f"images/{split}" for split in splits}, "names": dict(enumerate(names))}
