"""What is odd about results and annotations, though it can be scored: each oddity is a warning."""

from collections.abc import Iterable, Mapping
from typing import Any

from segkit.data.masks import Box

_MOST_COPIES = 0.01  # of all records; a few are an accident
_MOST_OUTSIDE = 0.05  # of the boxes of results; rounding puts few of them outside by more than a pixel
_MOST_WITHOUT_RESULT = 0.1  # of the images with annotations


def limit_warning(results: Mapping[tuple[Any, Any], int], limit: int) -> list[str]:
    """A warning where results are beyond the limit on detections, and so do not count.

    Args:
        results: Their number by image and category.
        limit: Detections of a category in an image that count.
    """
    beyond = [number - limit for number in results.values() if number > limit]
    if not beyond:
        return []
    images = len({image for (image, _), number in results.items() if number > limit})
    where = "1 image has" if images == 1 else f"{images} images have"
    return [
        f"{where} more than {limit} results of a category: the {sum(beyond)} of the lowest scores do not count "
        "for AP (raise the limit with --max-dets)"
    ]


def boxes_warning(boxes: Iterable[tuple[Box, tuple[int, int]]]) -> list[str]:
    """A warning where boxes of results are corners, or parts of the image, in place of COCO's x, y, width, height.

    Args:
        boxes: Each with the height and width of its image.
    """
    listed = list(boxes)
    if not listed:
        return []
    outside = sum(x + w > width + 1 or y + h > height + 1 for (x, y, w, h), (height, width) in listed)
    corners = all(x <= w <= width + 1 and y <= h <= height + 1 for (x, y, w, h), (height, width) in listed)
    if corners and outside > _MOST_OUTSIDE * len(listed):
        return [
            f"{outside} of {len(listed)} boxes of the results reach beyond their image: are they corners "
            "[x1, y1, x2, y2]? COCO's are [x, y, width, height]"
        ]
    if all(min(box) >= 0 and max(box) <= 1 for box, _ in listed) and min(map(max, (size for _, size in listed))) > 1:
        return ["all boxes of the results lie within one pixel: are they shares of the image? COCO's are in pixels"]
    return []


def scale_warning(lowest: float, highest: float) -> list[str]:
    """A warning where scores are no probabilities: thresholds between 0 and 1 then mean something else."""
    if lowest >= 0 and highest <= 1:
        return []
    return [
        f"scores are from {lowest:g} to {highest:g} and not from 0 to 1: AP does not change, "
        "but every number at a score threshold (--score) does"
    ]


def copies_warning(what: str, records: Iterable[tuple[Any, ...]]) -> list[str]:
    """A warning where records come more than once.

    Args:
        what: Results or annotations.
        records: What makes each one that one: image, category, box, score or area.
    """
    listed = list(records)
    copies = len(listed) - len(set(listed))
    if copies <= _MOST_COPIES * len(listed):
        return []
    return [f"{copies} of {len(listed)} {what} are copies of others: was a file joined to itself?"]


def coverage_warning(annotated: Iterable[Any], with_results: Iterable[Any]) -> list[str]:
    """A warning where many images have no result: the results may be those of a part.

    Args:
        annotated: Ids of images that have annotations.
        with_results: Ids of images that have results.
    """
    images, found = set(annotated), set(with_results)
    if not found or len(images - found) <= _MOST_WITHOUT_RESULT * len(images):
        return []
    return [f"{len(images - found)} of {len(images)} images with annotations have no result: do the results cover all?"]
