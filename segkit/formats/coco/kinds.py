"""Which of COCO's kinds a JSON document is: instances, panoptic segments, captions, results."""

from pathlib import Path
from typing import Any

from segkit.errors import InputError
from segkit.formats.coco.segmentation import shown

_NEEDED = "it needs the lists images, annotations and categories"


class NoInstances(InputError):
    """A COCO file of another kind: there are no instances in it."""


def is_coco(top: Any) -> bool:
    """Whether a JSON document is one of COCO's: annotations of instances or others, or results."""
    if isinstance(top, list):
        return bool(top) and all(isinstance(each, dict) and {"image_id", "score"} <= each.keys() for each in top[:10])
    return isinstance(top, dict) and "images" in top and bool({"annotations", "categories"} & top.keys())


def is_panoptic(top: Any) -> bool:
    """Whether a JSON document is COCO's of panoptic segmentation: annotations have segments."""
    annotations = top.get("annotations") if isinstance(top, dict) else None
    first = annotations[:10] if isinstance(annotations, list) else []
    return bool(first) and all(isinstance(each, dict) and "segments_info" in each for each in first)


def check_kind(path: Path, top: Any, panoptic: bool) -> None:
    """See that a document has instances, or panoptic segments.

    Args:
        path: Its file, in messages.
        top: The document.
        panoptic: Whether it should have segments.

    Raises:
        NoInstances: It is another of COCO's files.
        InputError: It is something else.
    """
    if isinstance(top, list):
        if is_coco(top):
            raise NoInstances(f"{path}: a COCO results file: it has no images", "name the annotation file")
        raise InputError(f"{path}: not a COCO annotation file: it is a list; {_NEEDED}")
    if not isinstance(top, dict) or "images" not in top:
        raise InputError(f"{path}: not a COCO annotation file: {_NEEDED}", "make one with: segkit convert LABELME-DIR")
    if "annotations" not in top:
        raise NoInstances(f"{path}: a list of images without annotations")
    if panoptic and top["annotations"] and not is_panoptic(top):
        raise NoInstances(f"{path}: not COCO's panoptic segmentation: annotations have no segments_info")
    if is_panoptic(top) and not panoptic:
        raise NoInstances(f"{path}: COCO's panoptic segmentation", "segkit convert --from panoptic reads it")
    for name in ("images", "annotations", "categories"):
        value = top.get(name, [])
        if not isinstance(value, list) and not (name == "categories" and value is None):
            raise InputError(f"{path}: not a COCO annotation file: {name} is {shown(value)}, not a list")
    first = top["annotations"][:10]
    if first and all(isinstance(each, dict) and "caption" in each and "category_id" not in each for each in first):
        raise NoInstances(f"{path}: captions of images: there are no instances in it")
