"""Fast decoding and resizing of images.

OpenCV and Pillow decode JPEGs with the same library to the same bytes (``tests/test_loading.py``), but Pillow copies
them three times on the way to NumPy. Files that OpenCV would accept in silence (truncated, or not RGB) go to Pillow,
which reports what is wrong.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.channels import resized
from segkit.data.depth import Levels
from segkit.data.pictures import Header, check_size, opened, orientation_of, read_header, stored_size
from segkit.data.pixels import load_rgb
from segkit.data.resize import shrunk
from segkit.errors import InputError
from segkit.formats.pictures.framed import load_framed, to_frame
from segkit.runtime.loaded_torch import torch_if_loaded

_END = b"\xff\xd9"  # the marker that a whole JPEG ends with


def decode_rgb(path: Path, levels: Levels | None = None) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB [H, W, 3] as stored, with the very bytes of ``segkit.data.pixels.load_rgb``.

    Args:
        path: The file.
        levels: What values of more than 8 bits become.

    Raises:
        InputError: It cannot be decoded.
    """
    return _decode(path, levels)[0]


def decode_framed(path: Path, size: tuple[int, int], levels: Levels | None) -> npt.NDArray[np.uint8]:
    """The channels of the model, [H, W, C], in the frame of annotations: turned upright where they are, not resized.

    Args:
        path: The file.
        size: (height, width) that the dataset says.
        levels: What values of more than 8 bits become.

    Raises:
        InputError: It cannot be decoded, or has another size that nothing explains.
    """
    if levels is not None and levels.channels is not None:
        return load_framed(path, size, levels)
    pixels, header = _decode(path, levels)
    return to_frame(pixels, header, path, size)


def _decode(path: Path, levels: Levels | None) -> tuple[npt.NDArray[np.uint8], Header]:
    try:
        with opened(path, str(path)) as picture:
            check_size(picture, path, str(path))
            fast, side = picture.format == "JPEG" and picture.mode == "RGB", stored_size(picture)
            header = Header(*side, orientation_of(picture), picture.format or "")
    except InputError:
        return load_rgb(path, levels), read_header(path)  # a TIFF file of other channels, or the error again
    if fast:
        data = path.read_bytes()
        pixels = None
        if data.endswith(_END):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None and pixels.shape[:2] == side:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), np.uint8), header
    return load_rgb(path, levels), header


def resize_rgb(pixels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resize an image [H, W, C]: bilinear, and antialiased where it shrinks.

    PyTorch's kernel for bytes takes a quarter of the time of OpenCV's ``INTER_AREA``, with almost the same result.
    Where PyTorch is not loaded, ``segkit.data.resize`` gives the same bytes.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if height > pixels.shape[0]:
        return resized(pixels, height, width, cv2.INTER_LINEAR)
    if (torch := torch_if_loaded()) is None:
        return shrunk(pixels, height, width)
    planes = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resize = torch.nn.functional.interpolate
    small = resize(planes, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
