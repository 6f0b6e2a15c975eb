"""Arrays that give every pixel one number, for the formats that store masks as images.

Later instances are over earlier ones. Time depends on the boxes of the instances, not on how often the image fits.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.conversion.output import OutputDataset
from segkit.conversion.spool import ImageEntry
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
) -> tuple[Numbers, list[Instance]]:
    """The number of every pixel, and the instances that can be seen, in the order of their numbers from 1.

    Instances that are left out or partly hidden are reported.

    Args:
        output: Takes findings.
        entry: The image.
        instances: Its instances, regions to ignore among them.
        most: How many instances there can be, without those regions.
        crowds: Whether the format has crowds.
    """
    numbers = np.zeros((entry.height, entry.width), np.int32)
    painted: list[Instance] = []
    regular = 0
    for instance in instances:
        regular += instance.label != IGNORE
        if regular > most and instance.label != IGNORE:
            output.add_finding(entry, "left out", f"more than {most} instances in one image", instance)
            continue
        if not crowds:
            report_crowd(output, entry, instance)
        painted.append(instance)
        fill(numbers, instance, len(painted))
    visible = np.bincount(numbers.ravel(), minlength=len(painted) + 1)[1:]
    for instance, seen in zip(painted, visible.tolist(), strict=True):
        report_hidden(output, entry, instance, seen)
    renumber = np.concatenate([[0], np.cumsum(visible > 0) * (visible > 0)]).astype(np.int32)
    return renumber[numbers], [each for each, seen in zip(painted, visible.tolist(), strict=True) if seen]


def report_crowd(output: OutputDataset, entry: ImageEntry, instance: Instance) -> None:
    """Report a crowd, in a format that has none."""
    if instance.iscrowd and instance.label != IGNORE:
        output.add_finding(entry, "changed", "the format has no crowds: written as an instance", instance)


def report_hidden(output: OutputDataset, entry: ImageEntry, instance: Instance, seen: int) -> None:
    """Report an instance of which fewer pixels can be seen than it has.

    Args:
        output: Takes the finding.
        entry: The image.
        instance: The instance.
        seen: How many of its pixels can be seen.
    """
    if seen == 0:
        output.add_finding(entry, "left out", "wholly hidden under later instances", instance)
    elif seen < instance.area:
        output.add_finding(entry, "changed", "partly hidden under later instances: a pixel has one number", instance)


def fill(numbers: Numbers, instance: Instance, value: int) -> None:
    """Give the pixels of an instance a number."""
    for window, inside in _window(numbers, instance):
        window[inside] = value


def count_of(numbers: Numbers, instance: Instance, value: int) -> int:
    """How many pixels of an instance have a number."""
    return sum(int((window[inside] == value).sum()) for window, inside in _window(numbers, instance))


def _window(numbers: Numbers, instance: Instance) -> Iterator[tuple[Numbers, npt.NDArray[np.bool_]]]:
    """The part of an array in the box of an instance, and which of its pixels are inside."""
    crop = rle_crop(to_rle(instance.segmentation, *numbers.shape))
    if crop is not None:
        top, left, inside = crop
        yield numbers[top : top + inside.shape[0], left : left + inside.shape[1]], inside != 0


def save(picture: Image.Image, path: Path) -> None:
    """Save an image, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
