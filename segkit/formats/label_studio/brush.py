"""The run lengths of Label Studio's brush: a stream of bits, the packed RGBA values of an image.

The stream has the number of values (32 bits), the size of a value less one (5 bits), and four sizes of lengths less one
(4 bits each). Blocks follow: a bit that is 1 for a run, 2 bits that choose the size of the length, the length less one,
then one value for a run, or all values. The mask is the alpha channel. Reference: ``label_studio_sdk.converter.brush``.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segkit.data.pictures import MAX_MASK_PIXELS


class _Bits:
    """Reads whole numbers from a stream of bits, the first bit highest."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._end = data, 0, 8 * len(data)

    def read(self, size: int) -> int:
        """The next number of ``size`` bits; raises ``ValueError`` at the end of the stream."""
        if self._at + size > self._end:
            raise ValueError("a brush mask that is cut off")
        first, last = self._at // 8, (self._at + size + 7) // 8
        chunk = int.from_bytes(self._data[first:last], "big")
        chunk >>= 8 * last - self._at - size
        self._at += size
        return chunk & ((1 << size) - 1)


def decode_brush(rle: Sequence[int], height: int, width: int) -> npt.NDArray[np.uint8]:
    """The mask [H, W] of a brush: 0 and 1.

    Args:
        rle: The bytes, as numbers.
        height: Of the image.
        width: Likewise.

    Raises:
        ValueError: They are no such stream, or of an image of another size.
    """
    try:
        data = bytes(rle)
    except (TypeError, ValueError, MemoryError):
        raise ValueError("a brush mask that is not a list of bytes") from None
    if height * width > MAX_MASK_PIXELS:
        raise ValueError(f"a brush mask of more than {MAX_MASK_PIXELS:,} pixels")
    bits = _Bits(data)
    count = bits.read(32)
    if count != 4 * height * width:
        raise ValueError("a brush mask of another size than the image")
    size = bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    at = 0
    while at < count:
        is_run = bits.read(1)
        end = min(at + 1 + bits.read(lengths[bits.read(2)]), count)
        if is_run:
            values[at:end] = min(bits.read(size), 255)
        else:
            values[at:end] = [min(bits.read(size), 255) for _ in range(end - at)]
        at = end
    return (values.reshape(height, width, 4)[..., 3] > 0).astype(np.uint8)
