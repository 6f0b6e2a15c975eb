"""Choosing pictures that are worth much and differ from each other.

Greedy, as for core-sets (Sener & Savarese, Active Learning for CNNs: A Core-Set Approach, ICLR 2018): each picture's
value counts by its distance from the nearest picture that is annotated or chosen, so that twenty frames of one scene do
not fill the list.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_APART = 0.5  # 1 - correlation of thumbnails from which on pictures are of different scenes
Floats = npt.NDArray[np.float64]


def choose_diverse(
    values: Sequence[float], thumbnails: Sequence[bytes], annotated: Sequence[bytes], count: int
) -> list[tuple[int, float]]:
    """Places of the chosen pictures, the first one first, with what each was worth when it was chosen.

    Args:
        values: Of the candidates.
        thumbnails: 16 x 16 grey values of the candidates.
        annotated: Of the pictures that are annotated already.
        count: How many are chosen, at most.
    """
    looks, known = _looks(thumbnails), _looks(annotated)
    apart = np.ones(len(looks))
    if len(known) and len(looks):
        apart = np.minimum(apart, _distance(looks, known).min(axis=1))
    chosen: list[tuple[int, float]] = []
    free = np.ones(len(looks), bool)
    for _ in range(min(count, len(looks))):
        gains = np.where(free, np.array(values) * np.minimum(apart / _APART, 1.0), -1.0)
        best = int(gains.argmax())
        chosen.append((best, float(gains[best])))
        free[best] = False
        apart = np.minimum(apart, _distance(looks, looks[best : best + 1])[:, 0])
    return chosen


def _looks(thumbnails: Sequence[bytes]) -> Floats:
    """Thumbnails as vectors of length 1 without their mean, [N, 256]; flat ones are 0."""
    if not thumbnails:
        return np.zeros((0, 256))
    pixels = np.stack([np.frombuffer(each.ljust(256, b"\0"), np.uint8) for each in thumbnails]).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    return np.asarray(pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-9))


def _distance(one: Floats, two: Floats) -> Floats:
    """1 - correlation, [N, M]; two flat pictures have the distance 0."""
    flat = (np.abs(one).sum(axis=1) == 0)[:, None] & (np.abs(two).sum(axis=1) == 0)[None]
    return np.asarray(np.where(flat, 0.0, np.clip(1 - one @ two.T, 0.0, 1.0)))
