"""Fast decoding and resizing of images.

OpenCV and Pillow decode JPEGs with the same library to the same bytes (``tests/test_loading.py``), but Pillow copies
them three times on the way to NumPy. Files that OpenCV would accept in silence (truncated, or not RGB) go to Pillow,
which reports what is wrong.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from segkit.data.pictures import check_size, opened
from segkit.data.pixels import load_rgb

_END = b"\xff\xd9"  # the marker that a whole JPEG ends with


def decode_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB [H, W, 3], with the very bytes of ``segkit.data.pixels.load_rgb``.

    Raises:
        InputError: It cannot be decoded.
    """
    with opened(path, str(path)) as picture:
        check_size(picture, path, str(path))
        fast, side = picture.format == "JPEG" and picture.mode == "RGB", (picture.height, picture.width)
    if fast:
        data = path.read_bytes()
        pixels = None
        if data.endswith(_END):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None and pixels.shape[:2] == side:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), np.uint8)
    return load_rgb(path)


def resize_rgb(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resize an image [H, W, 3]: bilinear, and antialiased where it shrinks.

    PyTorch's kernel for bytes takes a quarter of the time of OpenCV's ``INTER_AREA``, with almost the same result.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if height > pixels.shape[0]:
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    planes = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    small = F.interpolate(planes, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
