"""Opening SRC: which format it has, and the reader of that format."""

from collections.abc import Iterable
from pathlib import Path

from segkit.config.convert import ConvertConfig
from segkit.convert.detect import Detected, detect_format, is_report
from segkit.data.files import list_files
from segkit.errors import InputError
from segkit.formats.coco.images import open_coco
from segkit.formats.coco.panoptic import open_panoptic
from segkit.formats.label_images.idmask import open_idmask
from segkit.formats.label_images.pairs import find_pairs
from segkit.formats.label_images.semantic import open_semantic
from segkit.formats.label_images.voc import open_voc
from segkit.formats.labelme.images import LabelmeOptions, open_labelme
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.source import Source
from segkit.formats.via import open_via
from segkit.formats.yolo.images import open_yolo

_JSON = frozenset({".json"})
_FOLDERS = ("semantic", "idmask", "yolo", "voc")  # formats that are folders of several kinds of files


def open_source(config: ConvertConfig, stdin: Iterable[str]) -> Source:
    """Find the format of SRC, and list its units.

    Raises:
        InputError: It does not exist, or is not of the format that ``--from`` names.
    """
    if config.images_dir is not None and not config.images_dir.is_dir():
        raise InputError(f"{config.images_dir}: no such folder (--images-dir)")
    root = Path(config.src)
    kind: str = config.source_format
    files: list[tuple[Path, str]] = []
    if kind not in _FOLDERS:
        files = [pair for pair in list_files(config.src, _JSON, stdin, skip=config.out) if not is_report(pair[0])]
    elif not root.is_dir():
        raise InputError(f"{config.src}: no such folder; --from {kind} needs one")
    detected = Detected(kind)
    if kind == "auto":
        detected = detect_format(root if config.src != "-" else None, files, config.out)
        kind = detected.format
    if kind == "coco":
        return open_coco(files, config.images_dir, needs_pictures=config.images != "none")
    if kind == "panoptic":
        return open_panoptic(files, config.images_dir)
    return _open(detected, config, root, files)


def _open(detected: Detected, config: ConvertConfig, root: Path, files: list[tuple[Path, str]]) -> Source:
    match detected.format:
        case "semantic":
            pairs = find_pairs(root, config.out) if detected.pairs is None else detected.pairs
            return open_semantic(root, pairs, config.labels, config.colours)
        case "idmask":
            return open_idmask(root, detected.pairs, guessed=detected.pairs is not None)
        case "yolo":
            return open_yolo(root, config.images_dir, config.out)
        case "voc":
            return open_voc(root, config.images_dir, config.labels)
        case "via":
            return open_via(files, config.images_dir)
    shapes = ShapeOptions(config.line_width, config.point_radius, config.hole_label, config.raster == "labelme")
    options = LabelmeOptions(config.images_dir, shapes, config.drop_flag, config.images != "none")
    listed = root / "labels.txt" if config.labels is None and config.src != "-" else None
    return open_labelme(files, options, listed)
