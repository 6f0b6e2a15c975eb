"""Masks -> polygons along the edges of their pixels: rasterising them gives the same mask."""

import numpy as np
import numpy.typing as npt

Ring = list[tuple[int, int]]  # pixel corners (x, y), not closed

_TURNS = ((0, 1), (-1, 0), (0, -1), (1, 0))  # down, left, up, right: each is the one before, turned right


def trace(mask: npt.NDArray[np.bool_]) -> tuple[list[Ring], list[Ring]]:
    """The outlines of a mask [H, W]: outer ones, and those of holes.

    Pixels are 4-connected. Outer rings run clockwise (y points down), holes the other way.
    """
    steps = _edges(np.pad(mask, 1).astype(np.int8))
    outer: list[Ring] = []
    holes: list[Ring] = []
    while steps:
        start = next(iter(steps))
        ring = _follow(steps, start)
        area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True))
        (outer if area > 0 else holes).append(ring)
    return outer, holes


def _edges(padded: npt.NDArray[np.int8]) -> dict[tuple[int, int], list[int]]:
    """Directions that leave each corner, with the inside to the right."""
    steps: dict[tuple[int, int], list[int]] = {}
    down = np.diff(padded, axis=0)  # 1: the pixel below is inside, so the edge above it runs right
    across = np.diff(padded, axis=1)
    for value, differences, direction, shift in (
        (1, down, 3, (0, 0)), (-1, down, 1, (1, 0)), (1, across, 2, (0, 1)), (-1, across, 0, (0, 0)),
    ):  # fmt: skip
        ys, xs = np.nonzero(differences == value)
        dx, dy = (-1, 0) if differences is down else (0, -1)
        for x, y in zip((xs + dx + shift[0]).tolist(), (ys + dy + shift[1]).tolist(), strict=True):
            steps.setdefault((x, y), []).append(direction)
    return steps


def _follow(steps: dict[tuple[int, int], list[int]], start: tuple[int, int]) -> Ring:
    """One ring; its edges are removed from ``steps``. Only corners where it turns are kept."""
    ring: Ring = []
    at, heading = start, -1
    while True:
        choices = steps[at]
        # Where two pixels touch at a corner, turning right stays at the pixel that the ring is around.
        direction = (heading + 1) % 4 if heading >= 0 and (heading + 1) % 4 in choices else choices[0]
        choices.remove(direction)
        if not choices:
            del steps[at]
        if direction != heading:
            ring.append(at)
        at, heading = (at[0] + _TURNS[direction][0], at[1] + _TURNS[direction][1]), direction
        if at == start and (heading + 1) % 4 not in steps.get(at, ()):  # another ring may pass here
            break
    if len(ring) > 1 and _straight(ring[-1], ring[0], ring[1]):
        ring.pop(0)
    return ring


def _straight(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    return (a[0] == b[0] == c[0]) or (a[1] == b[1] == c[1])
