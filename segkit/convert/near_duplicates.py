"""Pictures that look nearly the same: frames of one video, exposures of one scene, copies."""

from collections.abc import Sequence

import numpy as np

from segkit.convert.union_find import UnionFind

ALIKE = 6.0  # mean difference of 16 x 16 greys, of 255, at full contrast
_KEYS = 4  # pictures are compared where one of so many coarse keys is equal
_WINDOW = 64  # and with so many neighbours in the order of that key at most


def looks(thumbnails: Sequence[bytes | None]) -> list[int | None]:
    """Number pictures so that those that look alike, directly or through others, have one number.

    Every picture is compared with its neighbours in several orders (by brightness of its rows, columns, halves), which
    finds near neighbours without comparing all with all.

    Args:
        thumbnails: 16 x 16 greys as ``segkit.data.pictures.thumbnail`` makes them; None looks like nothing.

    Returns:
        A number for each; None where there was None.
    """
    known = [index for index, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    alike = UnionFind(len(known))
    if known:
        pixels = np.stack([np.frombuffer(thumbnails[index] or b"", np.uint8) for index in known]).astype(np.int16)
        for order in _orders(pixels):
            for offset in range(1, min(_WINDOW, len(known))):
                a, b = order[:-offset], order[offset:]
                for start in range(0, len(a), 4096):
                    first, second = a[start : start + 4096], b[start : start + 4096]
                    apart = np.abs(pixels[first] - pixels[second]).mean(axis=1)
                    for hit in np.flatnonzero(apart <= ALIKE).tolist():
                        alike.join(int(second[hit]), int(first[hit]))
    numbers: list[int | None] = [None] * len(thumbnails)
    for members in alike.sets():
        for member in members:
            numbers[known[member]] = known[members[0]]
    return numbers


def _orders(
    pixels: np.ndarray[tuple[int, int], np.dtype[np.int16]],
) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Orders in which pictures that look alike stand near each other: by their projections on fixed patterns."""
    patterns = np.random.default_rng(0).choice([-1.0, 1.0], (pixels.shape[1], _KEYS))
    coarse = np.repeat(np.repeat(patterns.reshape(16, 16, _KEYS)[::4, ::4], 4, axis=0), 4, axis=1)
    keys = pixels @ coarse.reshape(-1, _KEYS)
    return [np.argsort(keys[:, number], kind="stable") for number in range(_KEYS)]
