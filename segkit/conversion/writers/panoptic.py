"""COCO's panoptic segmentation: ``panoptic_SPLIT.json``, and a folder of that name with a PNG of ids for each image.

A pixel belongs to one segment: later instances are over earlier ones. Categories are stuff where the source says so;
all others are things. Regions to ignore are 0, which belongs to no segment.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import msgspec
import numpy as np
from PIL import Image as PillowImage

from segkit.conversion.names import unique_names
from segkit.conversion.output import OutputDataset, OutputImage
from segkit.conversion.spool import ImageEntry
from segkit.conversion.writers.painting import Numbers, fill, paint, save, with_masks
from segkit.data.masks import rle_area, rle_bbox, tight_crop, to_rle, union
from segkit.data.records import IGNORE, Image, Instance
from segkit.formats.coco.write import write_coco

_MOST = (1 << 24) - 1  # ids in a PNG of three channels


def write_panoptic_dataset(output: OutputDataset) -> None:
    """Write the files of every split, and ``images/``."""
    (output.root / "images").mkdir(exist_ok=True)
    output.move_pictures([f"images/{image.name}" for image in output.images])
    categories = [
        {"id": each.id, "name": each.name, "supercategory": "", "isthing": int(each.name not in output.stuff)}
        for each in output.categories
    ]
    for split in output.splits:
        images = [image for image in output.images if image.split == split]
        masks = unique_names([[str(PurePosixPath(image.name).with_suffix(".png"))] for image in images], by_stem=True)
        records = (Image(n, image.name, image.entry.height, image.entry.width) for n, image in enumerate(images, 1))
        path = output.root / f"panoptic_{split}.json"
        write_coco(path, records, _annotations(output, split, masks), categories, {"uncovered": output.uncovered})


def _annotations(output: OutputDataset, split: str, masks: list[str]) -> Iterator[bytes]:
    ids = {category.name: category.id for category in output.categories}
    for number, (image, mask) in enumerate(zip(output.images_to_write(split), masks, strict=True), 1):
        numbers, segments = _paint(output, image)
        pixels = np.stack([numbers >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        save(PillowImage.fromarray(pixels), output.root / f"panoptic_{split}" / mask)
        infos = [_info(numbers, at, ids[instance.label], instance) for at, instance in segments]
        yield msgspec.json.encode({"image_id": number, "file_name": mask, "segments_info": infos})


def _paint(output: OutputDataset, image: OutputImage) -> tuple[Numbers, list[tuple[int, Instance]]]:
    """The segment of every pixel [H, W], and the instance of each segment."""
    entry = image.entry
    instances = list(with_masks(output, entry))
    regular = _with_whole_stuff(output, entry, [each for each in instances if each.label != IGNORE])
    numbers, instances_shown = paint(output, entry, regular, _MOST, crowds=True)
    segments = list(enumerate(instances_shown, 1))
    for each in instances:
        if each.label == IGNORE:
            fill(numbers, each, 0)
    shown = np.bincount(numbers.ravel(), minlength=len(segments) + 1)
    for at, instance in segments:
        if not shown[at]:
            output.add_finding(entry, "left out", "wholly hidden under regions to ignore", instance)
    return numbers, [(at, instance) for at, instance in segments if shown[at]]


def _with_whole_stuff(output: OutputDataset, entry: ImageEntry, instances: list[Instance]) -> list[Instance]:
    """The instances, where all regions of a stuff category are one."""
    merged: dict[Any, Instance] = {}
    for order, each in enumerate(instances):
        key = each.label if each.label in output.stuff else order
        if (before := merged.get(key)) is None:
            merged[key] = each
            continue
        size = (entry.height, entry.width)
        rle = union([to_rle(before.segmentation, *size), to_rle(each.segmentation, *size)])
        output.add_finding(entry, "changed", "regions of one stuff category are one segment", each)
        num_shapes = before.num_shapes + each.num_shapes
        merged[key] = replace(before, segmentation=rle, bbox=rle_bbox(rle), area=rle_area(rle), num_shapes=num_shapes)
    return list(merged.values())


def _info(numbers: Numbers, at: int, category_id: int, instance: Instance) -> dict[str, Any]:
    """The record of a segment: area and box are those of the pixels that are its own."""
    x, y, w, h = (int(side) for side in instance.bbox)
    crop = tight_crop(numbers[y : y + h, x : x + w] == at)
    assert crop is not None  # it has a pixel
    top, left, inside = crop
    bbox = [x + left, y + top, inside.shape[1], inside.shape[0]]
    area = int(inside.sum())
    return {"id": at, "category_id": category_id, "area": area, "bbox": bbox, "iscrowd": instance.iscrowd}
