"""SRC -> annotated images, whatever its format: told apart, read in parallel, in a stable order."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

from segkit.config.convert import ConvertConfig
from segkit.dataset import AnnotatedImage, Finding, Instance, Picture, Uncovered
from segkit.errors import InputError
from segkit.formats import labelme, semantic
from segkit.formats.coco import read_coco, read_json
from segkit.formats.labelme import LabelmeOptions, ReadFile
from segkit.formats.labelme_json import read_labelme
from segkit.formats.shapes import Drawing
from segkit.masks import rle_area, rle_bbox, to_rle
from segkit.progress import Progress
from segkit.sources import list_files

_JSON = frozenset({".json"})
_FILES_FOR_PROCESSES = 300  # below, starting processes takes longer than reading
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
    """What was read: images sorted by key, and the category order where the source has one."""

    format: str
    images: tuple[AnnotatedImage, ...]
    findings: tuple[Finding, ...]
    files: int
    shapes: int
    labels: tuple[str, ...] = ()
    uncovered: Uncovered = "background"


def read_source(config: ConvertConfig, progress: Progress, stdin: Iterable[str]) -> Source:
    """Read everything that ``config.src`` means.

    Raises:
        InputError: It does not exist, or its format cannot be told.
    """
    if config.source_format == "semantic":
        return _read_semantic(Path(config.src), progress)
    files = list_files(config.src, _JSON, stdin, skip=config.out)
    kind = config.source_format if config.source_format != "auto" else _tell_format(config.src, files)
    if kind == "semantic":
        return _read_semantic(Path(config.src), progress)
    return _read_coco(files) if kind == "coco" else _read_labelme(config, files, progress)


def _tell_format(src: str, files: Sequence[tuple[Path, str]]) -> str:
    """LabelMe if any of the first files is; else COCO if one is; else class-id PNGs if there are pairs."""
    coco = False
    for path, _ in files[:50]:
        try:
            if read_labelme(path) is not None:
                return "labelme"
            top = read_json(path)
            coco = coco or (isinstance(top, dict) and "annotations" in top and "images" in top)
        except InputError:
            continue  # the reader itself reports it
    if coco:
        return "coco"
    if src != "-" and not files and Path(src).is_dir() and semantic.find_pairs(Path(src)):
        return "semantic"
    return "labelme"


def _read_labelme(config: ConvertConfig, files: Sequence[tuple[Path, str]], progress: Progress) -> Source:
    if config.images_dir is not None and not config.images_dir.is_dir():
        raise InputError(f"{config.images_dir}: no such folder (--images-dir)")
    options = LabelmeOptions(
        images_dir=config.images_dir,
        drawing=Drawing(config.line_width, config.point_radius),
        hole_label=config.hole_label,
        drop_flag=config.drop_flag,
    )
    read_one = partial(_read_pair, options=options)
    images: list[AnnotatedImage] = []
    findings: list[Finding] = []
    shapes = 0
    progress.start("reading", len(files))
    for outcome in _map(read_one, files, config.workers):
        progress.advance()
        shapes += outcome.num_shapes
        findings += outcome.findings
        if outcome.image is not None:
            images.append(replace(outcome.image, split=_split_of(outcome.image.key)))
    progress.done()
    return Source("labelme", tuple(images), tuple(findings), len(files), shapes)


def _read_pair(pair: tuple[Path, str], options: LabelmeOptions) -> ReadFile:
    return labelme.read(pair[0], pair[1], options)


def _map(
    function: Callable[[Any], ReadFile], items: Sequence[tuple[Path, str]], workers: int | None
) -> Iterator[ReadFile]:
    """Apply in processes where that pays, in order."""
    if workers is None:
        workers = (cpu_count() or 1) if len(items) >= _FILES_FOR_PROCESSES else 0
    if workers <= 1:
        yield from map(function, items)
        return
    # Ctrl-C is for the parent: it stops to hand out work and takes the processes down with it.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, ignore) as pool:
        yield from pool.map(function, items, chunksize=16)


def _split_of(key: str) -> str | None:
    """The split that the first folder of a key is named after."""
    folder, slash, _ = key.partition("/")
    return _SPLIT_FOLDERS.get(folder.lower()) if slash else None


def _read_semantic(root: Path, progress: Progress) -> Source:
    pairs = semantic.find_pairs(root) if root.is_dir() else []
    if not pairs:
        raise InputError(
            f"{root}: no pictures with class-id PNGs beside them",
            "expected folders such as train and trainannot, or images and masks, with equal file names",
        )
    classes = semantic.read_classes(root)
    images, findings = [], []
    progress.start("reading", len(pairs))
    for pair in pairs:
        key = pair.picture.relative_to(root).as_posix()
        try:
            images.append(semantic.read(pair, key, classes))
        except InputError as error:
            findings.append(Finding(key, "left out", error.message))
        progress.advance()
    progress.done()
    labels = tuple(name for _, name in sorted(classes.items()) if name is not None)
    shapes = sum(len(image.instances) for image in images)
    return Source("semantic", tuple(images), tuple(findings), len(pairs), shapes, labels, "ignore")


def _read_coco(files: Sequence[tuple[Path, str]]) -> Source:
    """COCO files, one a split where they are named after one."""
    images: list[AnnotatedImage] = []
    findings: list[Finding] = []
    labels: dict[str, None] = {}
    read, shapes, uncovered = 0, 0, "background"
    for path, key in files:
        try:
            dataset = read_coco(path)
        except InputError as error:
            findings.append(Finding(key, "left out", error.message))
            continue
        read, shapes, uncovered = read + 1, shapes + len(dataset.annotations), dataset.uncovered
        labels |= {category.name: None for category in sorted(dataset.categories, key=lambda c: c.id)}
        names = {category.id: category.name for category in dataset.categories}
        split = _SPLIT_FOLDERS.get(path.stem.rpartition("_")[2].rstrip("0123456789").lower())
        by_image = dataset.annotations_of()
        for image in dataset.images:
            if not (dataset.images_dir / image.file_name).is_file():
                findings.append(Finding(key, "left out", f"picture {image.file_name} not found"))
                continue
            instances = []
            for a in by_image.get(image.id, []):
                if a.segmentation is None:
                    findings.append(
                        Finding(key, "left out", "a box without a segmentation", a.id, names[a.category_id])
                    )
                    continue
                rle = to_rle(a.segmentation, image.height, image.width)
                if (area := rle_area(rle)) == 0:
                    findings.append(Finding(key, "left out", "covers no pixel", a.id, names[a.category_id]))
                    continue
                kept = a.segmentation if isinstance(a.segmentation, list) else rle
                instances.append(Instance(names[a.category_id], kept, rle_bbox(rle), area, a.iscrowd, a.attributes))
            picture = Picture(Path(image.file_name).name, dataset.images_dir / image.file_name)
            images.append(AnnotatedImage(image.file_name, picture, image.height, image.width, tuple(instances), split))
    return Source("coco", tuple(images), tuple(findings), read, shapes, tuple(labels), uncovered)  # type: ignore[arg-type]
