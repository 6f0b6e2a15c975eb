"""What SRC holds: its format, its units in a stable order, and how each is read."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from segkit.config.convert import ConvertConfig
from segkit.convert.detect import detect_format, is_report
from segkit.data.files import list_files
from segkit.data.records import Finding, ReadFile, Uncovered
from segkit.errors import InputError
from segkit.formats import via, yolo
from segkit.formats.coco import source as coco_read
from segkit.formats.label_images import idmask, semantic, voc
from segkit.formats.labelme import source as labelme
from segkit.formats.labelme.instances import BACKGROUND, IGNORE, Joining
from segkit.formats.labelme.shapes import Drawing
from segkit.formats.labelme.source import LabelmeOptions

_JSON = frozenset({".json"})
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True, slots=True)
class Source:
    """The units of a source, and how to read them.

    Attributes:
        format: Its name.
        units: What is read one at a time (a file, a picture with its masks, ...), in a stable order.
        read: Reads a unit; it never raises for bad input.
        total: How many units there are, if that is known.
        files: How many annotation files there are, where they are not the units.
        parallel: Whether units can be read in other processes.
        labels: The categories in their order, where the source has one.
        uncovered: What pixels under no annotation are.
    """

    format: str
    units: Iterable[Any]
    read: Callable[[Any], ReadFile]
    total: int | None = None
    files: int = 0
    parallel: bool = True
    labels: tuple[str, ...] = ()
    uncovered: Uncovered = "background"


def open_source(config: ConvertConfig, stdin: Iterable[str]) -> Source:
    """Find the format of SRC, and list its units.

    Raises:
        InputError: It does not exist, or is not of the format that ``--from`` names.
    """
    if config.images_dir is not None and not config.images_dir.is_dir():
        raise InputError(f"{config.images_dir}: no such folder (--images-dir)")
    root = Path(config.src)
    kind: str = config.source_format
    if kind in _FOLDERS:
        if not root.is_dir():
            raise InputError(f"{config.src}: no such folder; --from {kind} needs one")
        return _with_folder_splits(_FOLDERS[kind](root, config.images_dir))
    files = [pair for pair in list_files(config.src, _JSON, stdin, skip=config.out) if not is_report(pair[0])]
    if kind == "auto":
        kind = detect_format(root if config.src != "-" else None, files)
        if kind in _FOLDERS:
            return _with_folder_splits(_FOLDERS[kind](root, config.images_dir))
    if kind == "coco":
        return _coco(files, config.images_dir, pictures=config.images != "none")
    return _via(files, config.images_dir) if kind == "via" else _labelme(config, files)


def _labelme(config: ConvertConfig, files: Sequence[tuple[Path, str]]) -> Source:
    options = LabelmeOptions(
        images_dir=config.images_dir,
        joining=Joining(Drawing(config.line_width, config.point_radius), config.hole_label, config.raster == "labelme"),
        drop_flag=config.drop_flag,
        pictures=config.images != "none",
    )
    labels: tuple[str, ...] = ()
    if config.labels is None and config.src != "-":
        with suppress(InputError):  # there is none, or it is not a labels file
            labels = tuple(read_labels(Path(config.src) / "labels.txt"))
    return Source("labelme", files, partial(_read_labelme, options=options), len(files), labels=labels)


def read_labels(path: Path) -> list[str]:
    """Category names from LabelMe's ``labels.txt``, a line each, without its two special ones.

    Raises:
        InputError: It cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    special = (IGNORE, BACKGROUND)
    return list(dict.fromkeys(name for line in lines if (name := line.strip()) and name not in special))


def _read_labelme(pair: tuple[Path, str], options: LabelmeOptions) -> ReadFile:
    return _with_split(labelme.read(pair[0], pair[1], options))


def _with_split(outcome: ReadFile) -> ReadFile:
    """The image with the split that the file names, or that its first folder is named after."""
    image = outcome.image
    if image is None:
        return outcome
    folder, slash, _ = image.key.partition("/")
    split = _SPLIT_FOLDERS.get((image.split or "").lower()) or (_SPLIT_FOLDERS.get(folder.lower()) if slash else None)
    return replace(outcome, image=replace(image, split=split))


def split_of_name(stem: str) -> str | None:
    """The split that a file such as ``instances_val2017`` is named after."""
    return _SPLIT_FOLDERS.get(stem.rpartition("_")[2].rstrip("0123456789").lower())


def _identity(outcome: ReadFile) -> ReadFile:
    return outcome


def _coco(files: Sequence[tuple[Path, str]], images_dir: Path | None, *, pictures: bool) -> Source:
    """COCO files; each is one split if it is named after one."""
    findings: list[Finding] = []
    parts: list[Iterable[ReadFile]] = []
    labels: dict[str, None] = {}
    total, uncovered = 0, "background"
    for path, key in files:
        try:
            dataset = coco_read.open_coco(path, key, split_of_name(path.stem), images_dir, pictures=pictures)
        except InputError as error:
            findings.append(Finding(key, "left out", error.message, shapes=0))
            continue
        labels |= dict.fromkeys(dataset.labels)
        uncovered, total = dataset.uncovered, total + dataset.num_images
        parts.append(dataset.images)
    units = chain([ReadFile(None, tuple(findings))] if findings else [], *parts)
    return Source("coco", units, _identity, total, len(files), False, tuple(labels), uncovered)  # type: ignore[arg-type]


def _via(files: Sequence[tuple[Path, str]], images_dir: Path | None) -> Source:
    parts = [via.read(path, key, images_dir) for path, key in files]
    return Source("via", map(_with_split, chain.from_iterable(parts)), _identity, None, len(files), parallel=False)


def _with_folder_splits(source: Source) -> Source:
    return replace(source, read=partial(_read_with_folder_split, read=source.read))


def _read_with_folder_split(unit: Any, read: Callable[[Any], ReadFile]) -> ReadFile:
    return _with_split(read(unit))


def _semantic(root: Path, images_dir: Path | None) -> Source:
    pairs, classes = semantic.open_semantic(root)
    labels = tuple(name for _, name in sorted(classes.items()) if name is not None)
    uncovered: Uncovered = "background" if semantic.covers_background(root) else "ignore"
    read = partial(semantic.read, classes=classes)
    return Source("semantic", pairs, read, len(pairs), labels=labels, uncovered=uncovered)


def _idmask(root: Path, images_dir: Path | None) -> Source:
    pairs, names = idmask.open_idmask(root)
    return Source("idmask", pairs, partial(idmask.read, names=names), len(pairs))


def _yolo(root: Path, images_dir: Path | None) -> Source:
    pairs, names = yolo.open_yolo(root, images_dir)
    labels = tuple(name for _, name in sorted(names.items()))
    return Source("yolo", pairs, partial(yolo.read, names=names), len(pairs), labels=labels)


def _voc(root: Path, images_dir: Path | None) -> Source:
    units, labels = voc.open_voc(root, images_dir)
    named = tuple(name for name in labels[1:] if name != IGNORE) if voc.names_classes(root) else ()
    return Source("voc", units, partial(voc.read, labels=labels), len(units), labels=named)


_FOLDERS: dict[str, Callable[[Path, Path | None], Source]] = {
    "semantic": _semantic,
    "idmask": _idmask,
    "yolo": _yolo,
    "voc": _voc,
}
