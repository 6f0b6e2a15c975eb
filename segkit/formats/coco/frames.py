"""Which frame the coordinates of COCO annotations lie in."""

from collections.abc import Iterable
from typing import Any


def fit_in(annotations: Iterable[Any], size: tuple[int, int]) -> bool:
    """Whether annotations lie in a frame (height, width), with a pixel to spare; what is invalid is passed over."""
    height, width = size
    for raw in annotations:
        mask, bbox = raw.get("segmentation"), raw.get("bbox")
        try:
            if isinstance(mask, dict) and list(mask.get("size", ())) != [height, width]:
                return False
            parts = mask if isinstance(mask, list) and mask and isinstance(mask[0], list) else []
            if not parts and isinstance(bbox, list) and len(bbox) == 4:
                parts = [[bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3]]]
            if any(max(part[0::2]) > width + 1 or max(part[1::2]) > height + 1 for part in parts if len(part) > 1):
                return False
        except TypeError:  # something else than numbers, which the reader reports
            continue
    return True
