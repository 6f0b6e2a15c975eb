"""Looking at a picture: whether it is one, whether it is complete, and which frame its annotations are in.

Only headers are read. An annotation file may say another size than the picture has: because the picture was scaled
since (annotations are scaled), because height and width were exchanged (repaired), because the EXIF orientation was not
applied (the pixels stay as they are stored), or because it is another picture.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segkit.data.complete import check_complete
from segkit.data.masks import mask_to_rle, measure, rle_to_mask
from segkit.data.pictures import MAX_MASK_PIXELS, Header, read_header
from segkit.data.records import Action, Exif, Finding, Instance, Picture, Polygons, Segmentation
from segkit.errors import InputError

Size = tuple[int, int]  # (height, width)


class Frame(NamedTuple):
    """The frame that annotations are in, and how the picture gets its own.

    Attributes:
        drawn: (height, width) that the coordinates of the annotations refer to.
        size: (height, width) of the picture as it will be stored; where it is another, annotations are scaled.
        exif: What to do with the orientation tag.
        action: The kind of finding, where there is one.
        why: Its sentence.
    """

    drawn: Size
    size: Size
    exif: Exif = "none"
    action: Action = "noted"
    why: str = ""


class Look(NamedTuple):
    """A picture that was looked at, the frame of its annotations, and findings."""

    picture: Picture
    frame: Frame
    findings: tuple[Finding, ...]


def look(path: Path, key: str, declared: Size | None, fits: Callable[[Size], bool] = lambda size: True) -> Look:
    """Look at a picture file.

    Args:
        path: The file.
        key: Names the annotations in findings.
        declared: (height, width) that the annotations say, if they do.
        fits: Whether the annotations lie in a frame; asked where height and width seem exchanged.

    Raises:
        InputError: It is no picture, is cut off, or has another size that nothing explains.
    """
    header = read_header(path, path.name)
    check_complete(path, path.name, header.format)
    frame = frame_of(header, path.name, declared, fits)
    findings = [Finding(key, frame.action, frame.why, shapes=0)] if frame.why else []
    if header.frames > 1:
        findings.append(Finding(key, "noted", first_frame(path.name, header), shapes=0))
    return Look(Picture(path.name, path, exif=frame.exif), frame, tuple(findings))


def first_frame(name: str, header: Header) -> str:
    """The sentence on a picture of several frames or pages."""
    return f"{name} has {header.frames} {'pages' if header.format == 'TIFF' else 'frames'}: the first is used"


def frame_of(
    header: Header, name: str, declared: Size | None, fits: Callable[[Size], bool] = lambda size: True
) -> Frame:
    """The frame of annotations that say a size.

    Where the size does not tell whether the orientation tag was applied, it was: browsers and viewers do.

    Args:
        header: Of the picture.
        name: Of the picture, in messages.
        declared: (height, width) that the annotations say, if they do.
        fits: Whether the annotations lie in a frame.

    Raises:
        InputError: The sizes differ, and nothing explains it.
    """
    upright, stored = header.upright, (header.height, header.width)
    apply: Exif = "apply" if header.orientation != 1 else "none"
    if declared is None or declared == upright:
        return Frame(upright, upright, apply)
    if declared == stored:
        return Frame(stored, stored, "drop")
    says = f"the file says {declared[0]}x{declared[1]} pixels, {name} has {upright[0]}x{upright[1]}"
    if declared == upright[::-1] and fits(upright):
        return Frame(upright, upright, apply, "repaired", f"{says}: height and width were exchanged")
    for size, exif in ((upright, apply), (stored, "drop" if header.orientation != 1 else apply)):
        if is_scaled(declared, size):
            return Frame(declared, size, exif, "changed", f"{says}: annotations scaled")  # type: ignore[arg-type]
    raise InputError(says, "is it another picture, or was it cropped?")


def is_scaled(one: Size, other: Size) -> bool:
    """Whether one size is the other, scaled and rounded: within a pixel of the smaller one."""
    small, large = sorted((one, other))
    if small[0] > large[0] or small[1] > large[1]:
        return False
    factors = large[0] / small[0], large[1] / small[1]
    return any(
        abs(large[0] / factor - small[0]) <= 1 and abs(large[1] / factor - small[1]) <= 1 for factor in factors
    )


def scale_instance(instance: Instance, before: Size, after: Size) -> Instance | None:
    """An instance after its picture was scaled; None where it covers no pixel any more.

    Raises:
        ValueError: It is a mask of too many pixels.
    """
    segmentation = scale_segmentation(instance.segmentation, before, after)
    area, bbox = measure(segmentation, *after)
    return replace(instance, segmentation=segmentation, area=area, bbox=bbox) if area else None


def scale_segmentation(segmentation: Segmentation, before: Size, after: Size) -> Segmentation:
    """A segmentation after its picture was scaled from one (height, width) to another.

    Raises:
        ValueError: It is a mask of too many pixels.
    """
    if before == after:
        return segmentation
    if isinstance(segmentation, list):
        return scale_polygons(segmentation, before, after)
    if max(before[0] * before[1], after[0] * after[1]) > MAX_MASK_PIXELS:
        raise ValueError(f"a mask of more than {MAX_MASK_PIXELS:,} pixels is not scaled")
    shrinks = after[0] < before[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    covered = cv2.resize(rle_to_mask(segmentation) * np.uint8(255), (after[1], after[0]), interpolation=how)
    return mask_to_rle(covered > 127)


def scale_polygons(polygons: Polygons, before: Size, after: Size) -> Polygons:
    """Polygons after their picture was scaled from one (height, width) to another."""
    factors = (after[1] / before[1], after[0] / before[0])
    return [[value * factors[index % 2] for index, value in enumerate(part)] for part in polygons]
