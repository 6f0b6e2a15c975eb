"""Label maps: one label for every pixel of an image, 0 for background, 1..K for the categories, 255 for none."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from segkit.data.masks import rle_crop, to_rle
from segkit.data.records import Segmentation

IGNORED = 255
"""The label of pixels that are neither learnt nor scored; a label map is uint8, and its labels are below."""

MOST_CATEGORIES = IGNORED - 1


def paint_labels(
    height: int, width: int, regions: Iterable[tuple[Segmentation, int]], elsewhere: int
) -> npt.NDArray[np.uint8]:
    """The label map [height, width] of regions in the frame of the image; later ones cover earlier ones.

    Args:
        height: Of the image.
        width: Likewise.
        regions: Each with its label.
        elsewhere: The label of pixels in no region.
    """
    out = np.full((height, width), elsewhere, np.uint8)
    for segmentation, label in regions:
        if (crop := rle_crop(to_rle(segmentation, height, width))) is not None:
            top, left, bitmap = crop
            out[top : top + bitmap.shape[0], left : left + bitmap.shape[1]][bitmap > 0] = label
    return out
