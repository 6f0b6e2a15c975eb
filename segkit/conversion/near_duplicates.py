"""Near-duplicate images: frames of one video, exposures of one scene, copies."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segkit.conversion.union_find import UnionFind

MAX_DIFFERENCE = 6.0  # mean absolute difference of 16 x 16 grey values, of 255, at full contrast
_ORDERS = 4
_WINDOW = 64  # neighbours in each order that an image is compared with


def group_similar(thumbnails: Sequence[bytes | None]) -> list[int | None]:
    """Number images so that near-duplicates, directly or through others, have the same number.

    Every image is compared with its neighbours in several orders, each by the projection on a fixed pattern. That finds
    near neighbours without comparing all with all.

    Args:
        thumbnails: 16 x 16 grey values as ``segkit.data.pictures.thumbnail`` makes them; None is similar to nothing.

    Returns:
        A number for each; None where there was None.
    """
    known = {index: thumbnail for index, thumbnail in enumerate(thumbnails) if thumbnail is not None}
    similar = UnionFind(len(known))
    if known:
        pixels = np.stack([np.frombuffer(each, np.uint8) for each in known.values()]).astype(np.int16)
        for order in _orders(pixels):
            for offset in range(1, min(_WINDOW, len(known))):
                a, b = order[:-offset], order[offset:]
                for start in range(0, len(a), 4096):
                    first, second = a[start : start + 4096], b[start : start + 4096]
                    apart = np.abs(pixels[first] - pixels[second]).mean(axis=1)
                    for close in np.flatnonzero(apart <= MAX_DIFFERENCE).tolist():
                        similar.join(int(second[close]), int(first[close]))
    numbers: list[int | None] = [None] * len(thumbnails)
    indices = list(known)
    for members in similar.sets():
        for member in members:
            numbers[indices[member]] = indices[members[0]]
    return numbers


def _orders(pixels: npt.NDArray[np.int16]) -> list[npt.NDArray[np.int64]]:
    """Orders in which near-duplicates are close to each other: by their projections on fixed patterns."""
    patterns = np.random.default_rng(0).choice([-1.0, 1.0], (pixels.shape[1], _ORDERS))
    coarse = np.repeat(np.repeat(patterns.reshape(16, 16, _ORDERS)[::4, ::4], 4, axis=0), 4, axis=1)
    keys = pixels @ coarse.reshape(-1, _ORDERS)
    return [np.argsort(keys[:, number], kind="stable") for number in range(_ORDERS)]
