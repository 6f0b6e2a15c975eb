"""Instances that touch: the distances that a U-Net learns of them, and how it parts them again.

The normalised distance of a pixel is that to the nearest pixel outside its instance, divided by the largest one of the
instance: 1 in the middle, near 0 where two instances touch, whatever their size (Schmidt et al. 2018, StarDist,
https://arxiv.org/abs/1806.03535). Its peaks are the seeds of a watershed (Naylor et al. 2018,
https://doi.org/10.1109/TMI.2018.2865709; Bai and Urtasun 2017, https://arxiv.org/abs/1611.08303).
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from segkit.data.coverage import Crop
from segkit.data.label_maps import IGNORED

SCALE = 255.0
"""Distances are stored as bytes: this stands for 1."""

_SEED = 0.5  # a peak is where the distance is larger
_MIN_SEED = 4  # pixels: smaller peaks are noise

Bytes = npt.NDArray[np.uint8]


def paint_instances(labels: Bytes, masks: Sequence[Crop]) -> npt.NDArray[np.int32]:
    """The number of the instance at every pixel, from 1, and 0 where there is none [H, W]; later ones cover earlier.

    Args:
        labels: The label map of the same instances: where it has background or 255, there is none.
        masks: Of the instances, each 0 and 1 in its box.
    """
    out = np.zeros(labels.shape, np.int32)
    for number, (top, left, bitmap) in enumerate(masks, 1):
        out[top : top + bitmap.shape[0], left : left + bitmap.shape[1]][bitmap > 0] = number
    out[(labels == 0) | (labels == IGNORED)] = 0
    return out


def normalised_distances(instances: npt.NDArray[np.int32]) -> Bytes:
    """The normalised distance of every pixel, times 255, [H, W]; 0 outside of instances.

    Where an instance ends at the border of the image it may go on: the border is not its edge.

    Args:
        instances: The number of the instance at every pixel, 0 where there is none.
    """
    out = np.zeros(instances.shape, np.uint8)
    for number, window in enumerate(ndimage.find_objects(instances), 1):
        if window is None:
            continue
        inside = instances[window] == number
        padded = np.pad(inside.view(np.uint8), 1)
        rows, columns = window
        _extend(padded, rows.start == 0, rows.stop == instances.shape[0])
        _extend(padded.T, columns.start == 0, columns.stop == instances.shape[1])
        if padded.all():  # it is the whole image, which has no edge
            distances = padded.astype(np.float32)
        else:
            distances = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distances = distances[1:-1, 1:-1] * inside
        out[window] += np.rint(distances * (SCALE / distances.max())).astype(np.uint8)
    return out


def _extend(padded: Bytes, before: bool, after: bool) -> None:
    """Repeat the first or the last row of what is padded by one pixel."""
    if before:
        padded[0] = padded[1]
    if after:
        padded[-1] = padded[-2]


def part(inside: npt.NDArray[np.bool_], distances: npt.NDArray[np.float32]) -> npt.NDArray[np.int32] | None:
    """Part pixels that are connected into instances: a watershed of the distances, from each of their peaks.

    Args:
        inside: The pixels, [H, W].
        distances: Normalised, from 0 to 1, [H, W].

    Returns:
        The number of the instance at every pixel, from 1, and 0 outside; None where there are no two peaks.
    """
    from skimage.segmentation import watershed  # noqa: PLC0415 -- it takes a while to import, and few need it

    peaks = (inside & (distances > _SEED)).view(np.uint8)
    count, seeds, stats, _ = cv2.connectedComponentsWithStats(peaks)
    large = stats[:, cv2.CC_STAT_AREA] >= _MIN_SEED
    large[0] = False
    if np.count_nonzero(large) < 2:
        return None
    numbers = np.zeros(count, np.int32)
    numbers[large] = np.arange(1, np.count_nonzero(large) + 1)
    return np.asarray(watershed(-distances, numbers[seeds], mask=inside), np.int32)
