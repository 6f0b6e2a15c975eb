"""Annotations whose picture was scaled since they were drawn: brought to the size of the picture."""

from dataclasses import replace

import numpy as np

from segkit.data.masks import Box, mask_to_rle, measure, rle_to_mask
from segkit.data.pictures import MAX_MASK_PIXELS
from segkit.data.records import AnnotatedImage, Finding, Instance, Polygons, Segmentation

Size = tuple[int, int]  # (height, width)


def scale_image(image: AnnotatedImage, size: Size, key: str, findings: list[Finding]) -> AnnotatedImage:
    """An image's annotations at another size of the picture; an instance of which no pixel remains becomes a finding.

    Args:
        image: With its instances in the frame in which they were drawn.
        size: (height, width) of the picture.
        key: Names the image in findings.
        findings: Takes the instances that are left out.
    """
    before = (image.height, image.width)
    if before == size:
        return image
    kept = []
    for instance in image.instances:
        try:
            kept.append(_scaled(instance, before, size))
        except ValueError as error:
            findings.append(Finding(key, "left out", str(error), None, instance.label, shapes=instance.num_shapes))
    return replace(image, height=size[0], width=size[1], instances=tuple(kept))


def _scaled(instance: Instance, before: Size, after: Size) -> Instance:
    if not instance.segmentation:  # only a box is known
        share = after[0] * after[1] / (before[0] * before[1])
        return replace(instance, bbox=scale_box(instance.bbox, before, after), area=instance.area * share)
    segmentation = scale_segmentation(instance.segmentation, before, after)
    area, bbox = measure(segmentation, *after)
    if area == 0:
        raise ValueError("covers no pixel of the image at the size of the picture")
    return replace(instance, segmentation=segmentation, area=area, bbox=bbox)


def scale_segmentation(segmentation: Segmentation, before: Size, after: Size) -> Segmentation:
    """A segmentation in a frame of another (height, width).

    Raises:
        ValueError: It is a mask of too many pixels.
    """
    if before == after:
        return segmentation
    if isinstance(segmentation, list):
        return scale_polygons(segmentation, before, after)
    if max(before[0] * before[1], after[0] * after[1]) > MAX_MASK_PIXELS:
        raise ValueError(f"a mask of more than {MAX_MASK_PIXELS:,} pixels, which is not scaled")
    import cv2  # noqa: PLC0415 -- it takes a tenth of a second, and few conversions need it

    how = cv2.INTER_AREA if after[0] < before[0] else cv2.INTER_LINEAR
    covered = cv2.resize(rle_to_mask(segmentation) * np.uint8(255), (after[1], after[0]), interpolation=how)
    return mask_to_rle(covered > 127)


def scale_polygons(polygons: Polygons, before: Size, after: Size) -> Polygons:
    """Polygons in a frame of another (height, width)."""
    factors = (after[1] / before[1], after[0] / before[0])
    return [[value * factors[index % 2] for index, value in enumerate(part)] for part in polygons]


def scale_box(box: Box, before: Size, after: Size) -> Box:
    """A box xywh in a frame of another (height, width)."""
    across, down = after[1] / before[1], after[0] / before[0]
    return (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
