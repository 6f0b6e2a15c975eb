"""Opening SRC: which format it has, and the reader of that format."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from segkit.config.convert import ConvertConfig
from segkit.conversion.detect import Detected, detect_file, detect_format, detect_masks_apart
from segkit.conversion.earlier_datasets import without_earlier_datasets
from segkit.conversion.mask_source import open_masks
from segkit.conversion.refusals import check_file, nothing_found
from segkit.data.files import check_listable, list_files
from segkit.errors import ConfigError, InputError
from segkit.formats.coco.images import open_coco
from segkit.formats.coco.panoptic import open_panoptic
from segkit.formats.cvat import open_cvat
from segkit.formats.isat import open_isat
from segkit.formats.label_images.voc import open_voc
from segkit.formats.label_studio.tasks import open_label_studio
from segkit.formats.labelme.images import LabelmeOptions, open_labelme
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.source import Source
from segkit.formats.via.images import open_via
from segkit.formats.yolo.data_yaml import dataset_of
from segkit.formats.yolo.images import open_yolo

_MASKS = ("semantic", "idmask", "csv", "voc")
_FOLDERS = ("semantic", "idmask", "yolo", "voc")  # formats that are folders of several kinds of files
_YAML = (".yaml", ".yml")
# Options for shapes that people drew, by the formats that have such shapes.
_DRAWN: dict[str, tuple[str, ...]] = {
    "line_width": ("labelme", "via", "cvat", "labelstudio"),
    "point_radius": ("labelme", "via", "cvat", "labelstudio"),
    "hole_label": ("labelme",),
    "drop_flag": ("labelme",),
    "raster": ("labelme",),
}
Files = list[tuple[Path, str]]


def open_source(config: ConvertConfig, stdin: Iterable[str]) -> Source:
    """Find the format of SRC, and list its units.

    Raises:
        InputError: It does not exist, or is not of the format that ``--from`` names.
        ConfigError: An option is for another format.
    """
    if config.images_dir is not None and not config.images_dir.is_dir():
        raise InputError(f"{config.images_dir}: no such folder (--images-dir)")
    root = Path(config.src)
    detected, files = _detect(config, root, stdin)
    _check_options(config, detected)
    source = _open(config, detected, root, files)
    return replace(source, findings=(*source.findings, *detected.findings)) if detected.findings else source


def _open(config: ConvertConfig, detected: Detected, root: Path, files: Files) -> Source:
    match detected.format:
        case "coco":
            return open_coco(files, config.images_dir, needs_pictures=config.images != "none")
        case "panoptic":
            return open_panoptic(files, config.images_dir)
        case "semantic" | "idmask" | "csv":
            return open_masks(config, detected, root)
        case "yolo" if root.is_file():
            return open_yolo(dataset_of(root), config.images_dir, config.out, root)
        case "yolo":
            return open_yolo(root, config.images_dir, config.out)
        case "voc":
            return open_voc(root, config.images_dir, config.out, config.labels, config.colours)
        case "isat":
            return open_isat(files, config.images_dir)
    areas = ShapeOptions(config.line_width, config.point_radius)
    match detected.format:
        case "via":
            return open_via(files, config.images_dir, areas)
        case "cvat":
            return open_cvat(files, config.images_dir, areas)
        case "labelstudio":
            return open_label_studio(files, config.images_dir, areas)
    shapes = ShapeOptions(config.line_width, config.point_radius, config.hole_label, config.raster == "labelme")
    options = LabelmeOptions(config.images_dir, shapes, config.drop_flag, config.images != "none")
    listed = root / "labels.txt" if config.labels is None and config.src != "-" else None
    return open_labelme(files, options, listed)


def _detect(config: ConvertConfig, root: Path, stdin: Iterable[str]) -> tuple[Detected, Files]:
    """The format of SRC, and its files where each is a unit."""
    kind: str = config.source_format
    is_stdin = config.src == "-"
    if not is_stdin and root.is_file():
        if kind == "auto":
            kind = detect_file(root) or "auto"
        elif kind in _FOLDERS and not (kind == "yolo" and root.suffix.lower() in _YAML):
            raise InputError(f"{config.src}: a file; --from {kind} needs the folder that it is in")
        else:
            check_file(root)
    elif kind in _FOLDERS and not root.is_dir():
        raise InputError(f"{config.src}: no such folder; --from {kind} needs one")
    elif kind in _FOLDERS:
        check_listable(root)
    if kind in _FOLDERS or kind == "csv":
        return Detected(kind), []
    if kind == "cvat":
        return Detected(kind), list_files(config.src, frozenset({".xml"}), stdin, skip=config.out)
    files, findings = without_earlier_datasets(list_files(config.src, frozenset({".json"}), stdin, skip=config.out))
    if kind != "auto":
        return Detected(kind, findings=findings), files
    earlier = [row.file for row in findings]
    found = detect_format(config.src, None if is_stdin else root, files, config.out, earlier)
    if found is None and config.images_dir is not None and root.is_dir():
        found = detect_masks_apart(config.images_dir, root, config.out)
    if found is None:
        error = nothing_found(config.src, files)
        if not files or error.what_it_is:
            raise error
        return Detected("labelme"), files  # its reader says what is wrong with each file
    if found.format == "cvat":
        return found, list_files(config.src, frozenset({".xml"}), (), skip=config.out)
    return replace(found, findings=(*findings, *found.findings)), files


def _check_options(config: ConvertConfig, detected: Detected) -> None:
    """Refuse options that are for another format than the one that was found."""
    if config.colours is not None and detected.format not in _MASKS:
        raise ConfigError(f"--colours names the colours of masks; {config.src} is {detected.format}")
    if config.masks != "auto" and detected.format != "csv":
        raise ConfigError("--masks is for a table of pictures and masks", f"use --from {config.masks}")
    given = config.given_options()
    for option, formats in _DRAWN.items():
        if option in given and detected.format not in formats:
            flag = f"--{option.replace('_', '-')}"
            raise ConfigError(f"{flag} has no effect: {config.src} is {detected.format}", f"leave out {flag}")
