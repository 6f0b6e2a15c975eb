"""Arrays that give every pixel one number, for the formats that store masks as images.

Later instances are over earlier ones. Time depends on the boxes of the instances, not on how often the image fits.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.convert.output import OutputDataset
from segkit.convert.spool import ImageEntry
from segkit.data.masks import rle_crop, to_rle
from segkit.data.records import IGNORE, Instance

Numbers = npt.NDArray[Any]  # [H, W]


def with_masks(output: OutputDataset, entry: ImageEntry, boxes: list[Instance] | None = None) -> Iterator[Instance]:
    """The instances that have a mask. Boxes alone go to ``boxes``, where the format can hold them.

    Args:
        output: Has the instances, and takes findings.
        entry: The image.
        boxes: Takes boxes; None: they are left out.
    """
    for instance in output.instances(entry):
        if not instance.is_box:
            yield instance
        elif boxes is None or instance.label == IGNORE:
            output.add_finding(entry, "left out", "a box without a mask, which the format cannot hold", instance)
        else:
            boxes.append(instance)


def paint(
    output: OutputDataset, entry: ImageEntry, instances: Iterable[Instance], most: int, *, crowds: bool = False
) -> tuple[Numbers, list[tuple[int, Instance]]]:
    """The number of every pixel, from 1, and the instance of each number; instances that are left out are reported.

    Args:
        output: Takes findings.
        entry: The image.
        instances: Its instances, without regions to ignore.
        most: How many numbers there are.
        crowds: Whether the format has crowds.
    """
    numbers = np.zeros((entry.height, entry.width), np.int32)
    kept: list[tuple[int, Instance]] = []
    for instance in instances:
        if len(kept) == most:
            output.add_finding(entry, "left out", f"more than {most} instances in one image", instance)
            continue
        if instance.iscrowd and not crowds:
            output.add_finding(entry, "changed", "the format has no crowds: written as an instance", instance)
        kept.append((len(kept) + 1, instance))
        fill(numbers, instance, len(kept))
    visible = np.bincount(numbers.ravel(), minlength=len(kept) + 1)
    shown = []
    for number, instance in kept:
        seen = int(visible[number])
        if seen == 0:
            output.add_finding(entry, "left out", "wholly hidden under later instances", instance)
        else:
            shown.append((number, instance))
            if seen < instance.area:
                why = "partly hidden under later instances: a pixel has one number"
                output.add_finding(entry, "changed", why, instance)
    renumber = np.zeros(len(kept) + 1, np.int32)
    renumber[[number for number, _ in shown]] = np.arange(1, len(shown) + 1)
    return renumber[numbers], [(at, instance) for at, (_, instance) in enumerate(shown, 1)]


def fill(numbers: Numbers, instance: Instance, value: int) -> None:
    """Give the pixels of an instance a number."""
    crop = rle_crop(to_rle(instance.segmentation, *numbers.shape))
    if crop is not None:
        top, left, inside = crop
        numbers[top : top + inside.shape[0], left : left + inside.shape[1]][inside != 0] = value


def save(picture: Image.Image, path: Path) -> None:
    """Save an image, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
