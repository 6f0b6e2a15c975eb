"""Annotations in any format -> a COCO dataset folder, with a record of everything that was lost on the way.

read -> name -> split -> number -> write. One bad file never stops the rest: it becomes a row of ``report.json``.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from segkit.config.convert import ConvertConfig
from segkit.dataset import AnnotatedImage, Annotation, Category, Dataset, Finding, Image, Uncovered
from segkit.errors import InputError
from segkit.formats import labelme
from segkit.formats.coco import write_coco
from segkit.placing import check_target, file_names, place, writing_beside
from segkit.progress import SILENT, Progress
from segkit.reading import read_source
from segkit.split import SPLITS, assign_splits


@dataclass(frozen=True, slots=True)
class SplitCount:
    """How much one split holds."""

    images: int
    instances: int
    negatives: int


@dataclass(frozen=True, slots=True)
class ConversionSummary:
    """What a conversion made, and what it could not carry over."""

    out: Path
    source_format: str
    files: int
    shapes: int
    splits: dict[str, SplitCount]
    categories: dict[str, int]  # instances by name, in the order of their ids
    dropped: int  # instances that --map dropped
    findings: tuple[Finding, ...]
    dry_run: bool

    def totals(self) -> dict[str, Any]:
        """The summary as JSON, without the rows."""
        return {
            "format": self.source_format,
            "files": self.files,
            "shapes": self.shapes,
            "images": sum(count.images for count in self.splits.values()),
            "instances": sum(count.instances for count in self.splits.values()),
            "splits": {name: msgspec.to_builtins(count) for name, count in self.splits.items()},
            "categories": self.categories,
            "dropped": self.dropped,
            **dict(sorted(Counter(f.action for f in self.findings).items())),
        }


def convert(config: ConvertConfig, progress: Progress = SILENT, stdin: Iterable[str] = ()) -> ConversionSummary:
    """Convert annotations to a COCO dataset folder.

    Args:
        config: What to do.
        progress: Who is told how far it is.
        stdin: Where ``-`` reads paths.

    Returns:
        Counts, and a finding for every shape or file that did not go over as it was.

    Raises:
        InputError: Nothing can be converted, a label is unknown, or the target is taken.
    """
    if not config.dry_run:
        check_target(config.out, config.force)
    source = read_source(config, progress, stdin)
    findings = list(source.findings)
    images, dropped = _rename(source.images, config, findings)
    if not images:
        raise _nothing(config.src, findings)
    names = _category_names(images, config, source.labels)
    splits = _splits(images, config)
    categories = tuple(Category(number, name) for number, name in enumerate(names, 1))
    summary = ConversionSummary(
        out=config.out,
        source_format=source.format,
        files=source.files,
        shapes=source.shapes,
        splits=_count(images, splits),
        categories=_by_category(images, names),
        dropped=dropped,
        findings=tuple(sorted(findings, key=lambda f: (f.file, -1 if f.shape is None else f.shape, f.why))),
        dry_run=config.dry_run,
    )
    if not config.dry_run:
        _write(config, images, splits, categories, source.uncovered, summary, progress)
    return summary


def _rename(
    images: Sequence[AnnotatedImage], config: ConvertConfig, findings: list[Finding]
) -> tuple[list[AnnotatedImage], int]:
    """Apply ``--map`` and LabelMe's special labels."""
    renames, dropped, out = dict(config.map), 0, []
    for image in images:
        kept = []
        for instance in image.instances:
            label = renames.get(instance.label, instance.label)
            if label == "":
                dropped += 1
            elif label == labelme.IGNORE:
                why = "marks a region to ignore, which COCO cannot hold without a category"
                findings.append(Finding(image.key, "left out", why, None, label))
            else:
                kept.append(replace(instance, label=label) if label != instance.label else instance)
        out.append(replace(image, instances=tuple(kept)) if len(kept) != len(image.instances) or renames else image)
    return out, dropped


def _nothing(src: str, findings: Sequence[Finding]) -> InputError:
    if not findings:
        return InputError(f"{src}: nothing to convert", "name the folder that holds the LabelMe JSON files")
    first = findings[0]
    more = f" (and {len(findings) - 1} more findings)" if len(findings) > 1 else ""
    return InputError(f"{src}: nothing could be converted: {first.file}: {first.why}{more}")


def _category_names(images: Sequence[AnnotatedImage], config: ConvertConfig, given: Sequence[str]) -> list[str]:
    """Names in the order of their ids: the labels file's, else the source's, else sorted."""
    seen = Counter(instance.label for image in images for instance in image.instances)
    if config.labels is None:
        renames = dict(config.map)
        ordered = list(dict.fromkeys(name for label in given if (name := renames.get(label, label))))
        return ordered + sorted(seen.keys() - set(ordered))
    try:
        lines = config.labels.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{config.labels}: cannot be read: {error}") from error
    special = (labelme.IGNORE, labelme.BACKGROUND)
    names = [name for line in lines if (name := line.strip()) and name not in special]
    if unknown := sorted(seen.keys() - set(names)):
        some = ", ".join(f"{name!r} ({seen[name]})" for name in unknown[:5])
        raise InputError(
            f"{config.labels}: does not list {len(unknown)} of the labels used: {some}",
            f"add them, rename with --map {unknown[0]}=NAME, or drop with --map {unknown[0]}=",
        )
    return list(dict.fromkeys(names))


def _splits(images: Sequence[AnnotatedImage], config: ConvertConfig) -> list[str]:
    own = [image.split for image in images]
    if config.val is None and all(own) and len(set(own)) > 1:
        return [str(split) for split in own]
    val = 0.2 if config.val is None else config.val
    return assign_splits(images, val=val, test=config.test, group_by=config.group_by, seed=config.seed)


def _count(images: Sequence[AnnotatedImage], splits: Sequence[str]) -> dict[str, SplitCount]:
    members = {name: [i for i, s in zip(images, splits, strict=True) if s == name] for name in SPLITS}
    return {
        name: SplitCount(len(some), sum(len(i.instances) for i in some), sum(not i.instances for i in some))
        for name, some in members.items()
        if some
    }


def _by_category(images: Sequence[AnnotatedImage], names: Sequence[str]) -> dict[str, int]:
    counts = Counter(instance.label for image in images for instance in image.instances)
    return {name: counts[name] for name in names}


def _write(
    config: ConvertConfig,
    images: Sequence[AnnotatedImage],
    splits: Sequence[str],
    categories: tuple[Category, ...],
    uncovered: Uncovered,
    summary: ConversionSummary,
    progress: Progress,
) -> None:
    with writing_beside(config.out) as beside:
        (beside / "images").mkdir()
        placed = file_names(images)
        progress.start("writing pictures", len(images))
        for index, (image, name) in enumerate(zip(images, placed, strict=True)):
            if config.images == "reference" and image.picture.is_ready and image.picture.path is not None:
                placed[index] = Path(
                    os.path.relpath(image.picture.path.absolute(), config.out.absolute() / "images")
                ).as_posix()
            else:
                place(image, beside / "images" / name, config.images)
            progress.advance()
        progress.done()
        for split in summary.splits:
            members = [(i, n) for i, n, s in zip(images, placed, splits, strict=True) if s == split]
            write_coco(_number(members, categories, config.out / "images", uncovered), beside / f"{split}.json")
        (beside / "labels.txt").write_text("".join(f"{c.name}\n" for c in categories), encoding="utf-8")
        report = summary.totals() | {"findings": [msgspec.to_builtins(row) for row in summary.findings]}
        (beside / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def _number(
    members: Iterable[tuple[AnnotatedImage, str]],
    categories: tuple[Category, ...],
    images_dir: Path,
    uncovered: Uncovered,
) -> Dataset:
    """Give images and annotations their ids: from 1, in the order of the source."""
    ids = {category.name: category.id for category in categories}
    images: list[Image] = []
    annotations: list[Annotation] = []
    for image, file_name in members:
        images.append(Image(len(images) + 1, file_name, image.height, image.width))
        for instance in image.instances:
            annotations.append(
                Annotation(
                    id=len(annotations) + 1,
                    image_id=len(images),
                    category_id=ids[instance.label],
                    segmentation=instance.segmentation,
                    bbox=instance.bbox,
                    area=instance.area,
                    iscrowd=instance.iscrowd,
                    attributes=instance.attributes,
                )
            )
    return Dataset(tuple(images), tuple(annotations), categories, images_dir, uncovered)
