"""The pixels of a mask near its contour, of which boundary IoU is computed.

Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (CVPR 2021), and its code
(``mask_to_boundary``): the mask less its erosion by a 3 x 3 square, repeated ``distance`` times, where everything
outside the image is background.
"""

import numpy as np
import numpy.typing as npt

_DISTANCE_RATIO = 0.02  # of the image's diagonal, as in the paper
Bools = npt.NDArray[np.bool_]


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
