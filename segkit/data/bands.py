"""The pixels of a mask near its contour, and their IoU: boundary IoU.

Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (CVPR 2021), and its code
(``mask_to_boundary``): the mask less its erosion by a 3 x 3 square, repeated ``distance`` times, where everything
outside the image is background. In C where the extension was built, else by OpenCV, with the same results to the bit.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segkit.data.masks import rle_crop
from segkit.data.polygons import native
from segkit.data.records import Rle

_DISTANCE_RATIO = 0.02  # of the image's diagonal, as in the paper
Bools = npt.NDArray[np.bool_]
Band = tuple[int, int, Bools]  # top, left, the band in the mask's box
_in_c = getattr(native, "band_ious", None)  # an extension of an earlier version may be there


def band_distance(height: int, width: int) -> int:
    """How far the band of an image reaches from the contour into the mask, in pixels: 2 % of the image's diagonal."""
    return max(1, round(_DISTANCE_RATIO * float(np.hypot(height, width))))


def mask_band(inside: npt.NDArray[np.bool_ | np.uint8], distance: int) -> Bools:
    """The pixels of a mask [H, W] that are at most ``distance`` rows and columns from a pixel outside it."""
    import cv2  # noqa: PLC0415  an eighth of a second, and most evaluations do without

    mask = np.asarray(inside, np.uint8)
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)  # the 3 x 3 square, ``distance`` times
    eroded = cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask > eroded)


def band_ious(
    found: Sequence[Rle], truth: Sequence[Rle], pairs: Sequence[tuple[int, int]], distance: int
) -> list[float]:
    """The IoU of the bands of pairs of masks; 0 where neither has a pixel.

    Args:
        found: Masks of one image, as compressed RLE.
        truth: Other ones of that image.
        pairs: Which of the first with which of the second.
        distance: Of the bands.
    """
    if not pairs:
        return []
    if _in_c is None:
        return band_ious_by_opencv(found, truth, pairs, distance)
    counts = ([rle["counts"] for rle in rles] for rles in (found, truth))
    ious: list[float] = _in_c(*counts, list(pairs), *found[0]["size"], distance)
    return ious


def band_ious_by_opencv(
    found: Sequence[Rle], truth: Sequence[Rle], pairs: Sequence[tuple[int, int]], distance: int
) -> list[float]:
    """``band_ious`` without the extension."""
    of_found, of_truth = (
        {n: _band(rles[n], distance) for n in dict.fromkeys(pair[side] for pair in pairs)}
        for side, rles in enumerate((found, truth))
    )
    return [_iou(of_found[d], of_truth[g]) for d, g in pairs]


def _band(rle: Rle, distance: int) -> Band:
    top, left, mask = rle_crop(rle) or (0, 0, np.zeros((1, 1), np.uint8))
    return top, left, mask_band(mask, distance)


def _iou(first: Band, second: Band) -> float:
    (y1, x1, one), (y2, x2, two) = first, second
    top, left = max(y1, y2), max(x1, x2)
    bottom, right = min(y1 + one.shape[0], y2 + two.shape[0]), min(x1 + one.shape[1], x2 + two.shape[1])
    shared = 0
    if top < bottom and left < right:
        a, b = one[top - y1 : bottom - y1, left - x1 : right - x1], two[top - y2 : bottom - y2, left - x2 : right - x2]
        shared = int(np.count_nonzero(a & b))
    together = int(np.count_nonzero(one)) + int(np.count_nonzero(two)) - shared
    return shared / together if together else 0.0
