"""Boxes without a mask, for models that learn masks: kept, left out, or regions where nothing is learnt and scored."""

from dataclasses import replace

from segkit.config.convert import Boxes
from segkit.data.masks import measure
from segkit.data.records import AnnotatedImage, Finding, Instance

_DROPPED = "a box without a mask (--boxes drop): its object is background now"
_CROWD = "a box without a mask is a crowd now (--boxes crowd)"
_EMPTY = "a box that covers no pixel"


def treat_boxes(image: AnnotatedImage, boxes: Boxes) -> tuple[AnnotatedImage, tuple[Finding, ...]]:
    """The image with its boxes as asked for, and a row for each that is none any more.

    Args:
        image: An image as it was read.
        boxes: ``drop`` leaves them out: their objects are background then. ``crowd`` makes the box a crowd.
    """
    if boxes == "keep" or not any(instance.is_box for instance in image.instances):
        return image, ()
    kept: list[Instance] = []
    rows: list[Finding] = []
    for instance in image.instances:
        if not instance.is_box:
            kept.append(instance)
            continue
        crowd = _as_crowd(instance, image.height, image.width)
        if boxes == "drop" or not crowd.area:
            why = _DROPPED if boxes == "drop" else _EMPTY
            rows.append(Finding(image.key, "left out", why, None, instance.label, shapes=instance.num_shapes))
        else:
            kept.append(crowd)
            rows.append(Finding(image.key, "changed", _CROWD, None, instance.label, shapes=0))
    return replace(image, instances=tuple(kept)), tuple(rows)


def _as_crowd(instance: Instance, height: int, width: int) -> Instance:
    x, y, w, h = instance.bbox
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    polygon = [[left, top, right, top, right, bottom, left, bottom]]
    area, bbox = measure(polygon, height, width)
    return replace(instance, segmentation=polygon, area=area, bbox=bbox, iscrowd=1)
