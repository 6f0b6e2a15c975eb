"""Smaller images, antialiased, without PyTorch: with the bytes of PyTorch's own kernel.

A pixel of the result is the mean of those below it, weighted by a triangle as wide as two of its own (as Pillow's
``BILINEAR``). PyTorch computes it for bytes with weights of 16 bits, columns first, and rounds to bytes in between
(``upsample_bilinear2d`` with ``antialias``); a model that is run with PyTorch and without gets the same image.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

Bytes = npt.NDArray[np.uint8]
_MOST_BITS = 22  # of a weight behind the point, and no weight has more than 15 in all
_ROWS = 64  # at once, so that sums of 32 bits stay in the cache


def shrunk(pixels: Bytes, height: int, width: int) -> Bytes:
    """An image [H, W, C] at another size.

    Args:
        pixels: The image.
        height: Of the result.
        width: Likewise.
    """
    if width != pixels.shape[1]:
        columns = _means(pixels.shape[1], width)
        bands = range(0, pixels.shape[0], _ROWS)
        pixels = np.concatenate([_mixed(columns, pixels[row : row + _ROWS].swapaxes(0, 1)) for row in bands], axis=1)
        pixels = pixels.swapaxes(0, 1)
    if height != pixels.shape[0]:
        weights, bits = _means(pixels.shape[0], height)
        parts = []
        for row in range(0, height, _ROWS):
            some = weights[row : row + _ROWS]
            low, high = int(some.indices.min()), int(some.indices.max()) + 1
            parts.append(_mixed((some[:, low:high], bits), pixels[low:high]))
        pixels = np.concatenate(parts)
    return np.ascontiguousarray(pixels)


def _mixed(means: tuple[sparse.csr_array, int], lines: Bytes) -> Bytes:
    """Means of lines [N, M, C], as bytes."""
    weights, bits = means
    sums: npt.NDArray[np.int32] = weights @ lines.reshape(len(lines), -1).astype(np.int32)
    sums += 1 << (bits - 1)
    sums >>= bits
    return sums.clip(0, 255, out=sums).astype(np.uint8).reshape(-1, *lines.shape[1:])


def _means(given: int, wanted: int) -> tuple[sparse.csr_array, int]:
    """The weights of ``given`` places in each of ``wanted``, int32 [wanted, given], and their bits behind the point."""
    scale = given / wanted
    reach = max(scale, 1.0)
    centres = scale * (np.arange(wanted) + 0.5)
    low = (centres - reach + 0.5).astype(np.int64).clip(min=0)
    high = (centres + reach + 0.5).astype(np.int64).clip(max=given)
    places = low + np.arange(int((high - low).max()))[:, None]  # [taps, wanted]
    shares = (1 - np.abs((places - centres + 0.5) * (1 / reach))).clip(min=0) * (places < high)
    shares /= shares.sum(axis=0)
    bits = next((n for n in range(_MOST_BITS) if int(0.5 + shares.max() * (1 << (n + 1))) >= 1 << 15), _MOST_BITS)
    weights = (0.5 + shares * (1 << bits)).astype(np.int32)
    rows = np.broadcast_to(np.arange(wanted), places.shape)
    kept = weights > 0
    return sparse.csr_array((weights[kept], (rows[kept], places[kept])), shape=(wanted, given)), bits
