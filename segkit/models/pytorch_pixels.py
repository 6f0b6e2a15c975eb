"""The decisions of PyTorch's ``interpolate`` for pixels whose value lies at the threshold.

Another order of the same sums rounds otherwise, and so do processors that multiply and add at once. Bounds say which
pixels that could concern; PyTorch itself decides for those.
"""

from functools import cache
from typing import Any

import numpy as np

from segkit.data.soft_masks import THRESHOLD, Bools, Doubles, Floats, Frames, Ints, Near, no_probabilities

_ROUNDING = 2.0**-24  # the greatest relative error of one operation in float32
_OPERATIONS = 8  # roundings of a value, at most: weighting and adding four cells takes five or fewer in any order
_SMALL = 1 << 15  # pixels that cost no more than to be clever
_ROWS = 8  # rows of a mask that are found one by one


def as_pytorch(torch: Any, masks: Floats, down: Frames, across: Frames) -> Near:
    """Decide as ``interpolate`` (bilinear, corners not aligned) of padded masks [N, M, M] on a CPU would."""
    cells = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    odd = no_probabilities(masks)

    def decide(mask: Ints, column: Ints, row: Ints) -> Bools:
        least, greatest = _between(cells, mask, _weights(across, mask, column, cells), _weights(down, mask, row, cells))
        inside = least > THRESHOLD
        unsure = np.flatnonzero((inside != (greatest > THRESHOLD)) | odd[mask])
        for one in np.unique(mask[unsure]).tolist():
            own = unsure[mask[unsure] == one]
            size = int(down.pixels[one]), int(across.pixels[one])
            values = _values(torch, torch.from_numpy(cells[one]), size, row[own], column[own], alone=not odd[one])
            inside[own] = values > THRESHOLD
        return inside

    return Near(_bound(cells.shape[-1]), decide)


def _bound(cells: int) -> float:
    """How far a value between 0 and 1 that PyTorch finds can be from the one that is compared first.

    A place is the product of two float32 less a half: a rounding of the product, as the difference needs none, or of
    both at once. A unit of a place, of a row or of a column, moves a value by the difference of two cells: 1 at most.
    The shares of two cells are rounded, too; then four cells are weighted and added, and for the value that this is
    compared with.
    """
    return (2 * cells + 2 + 2 * _OPERATIONS) * _ROUNDING


Weights = tuple[Ints, Floats, Floats]  # the cell before, its share, the share of the next one


def _weights(frames: Frames, mask: Ints, pixels: Ints, cells: Floats) -> list[Weights]:
    """The shares of cells in pixels, for both ways of rounding their places."""
    product = (pixels + frames.offset[mask]) * frames.step[mask]  # exact: 24 bits, and 16 of a pixel's number
    ways = (product.astype(np.float32) + np.float32(frames.shift), (product + frames.shift).astype(np.float32))
    found = []
    for place in ways:
        inside = place.clip(0, cells.shape[-1] - 1)
        before = inside.astype(np.int64)
        after = inside - before.astype(np.float32)
        found.append((before, 1 - after, after))
    return found


def _between(cells: Floats, mask: Ints, across: list[Weights], down: list[Weights]) -> tuple[Doubles, Doubles]:
    """The least and the greatest of what the ways to round places and values can give."""
    last, values = cells.shape[-1] - 1, []
    for x, left, right in across:
        for y, upper, lower in down:
            above, below = (
                cells[mask, line, x].astype(np.float64) * left + cells[mask, line, np.minimum(x + 1, last)] * right
                for line in (y, np.minimum(y + 1, last))
            )
            values.append(above * upper + below * lower)
    error = _OPERATIONS * _ROUNDING
    return np.min(values, axis=0) * (1 - error), np.max(values, axis=0) * (1 + error)


def _values(torch: Any, cells: Any, size: tuple[int, int], row: Ints, column: Ints, *, alone: bool) -> Floats:
    """The values of some pixels of an interpolation to ``size``, in rows that are found ``alone`` where that pays."""
    rows, which = np.unique(row, return_inverse=True)
    if alone and size[0] * size[1] > _SMALL and len(rows) <= _ROWS:
        found = _rows(torch, cells, size, rows.tolist())
        if found is not None:
            return found[which, column]
    whole = torch.nn.functional.interpolate(cells[None, None], size=size, mode="bilinear", align_corners=False)
    values: Floats = whole[0, 0].numpy()[row, column]
    return values


def _rows(torch: Any, cells: Any, size: tuple[int, int], rows: list[int]) -> Floats | None:
    """Some rows of an interpolation to ``size``, each found alone, [rows, width]; None where that is not sure to work.

    A row of pixels between two rows of cells is the first row of those two alone, at a scale which begins at the same
    share: (2 * share + 1) / 2 - 1 / 2. The same code runs on the same weights, which is tried once in each process.
    """
    if size[1] < 128 or not _rows_are_alike(torch):  # PyTorch adds up small images in another way
        return None
    found = []
    for before, share in _shares(torch, len(cells), size[0], rows):
        after = min(before + 1, len(cells) - 1)
        values = _row(torch, cells[[before, after, after]], len(cells), size[1], share)
        if values is None:
            return None
        found.append(values)
    return np.stack(found)


def _row(torch: Any, three: Any, cells: int, width: int, share: np.float32) -> Floats | None:
    """A row, by its share of the second of three rows of cells; None where it needs scales that are not exact."""
    scale, across = float(1 + 2 * share), np.float32(cells) / np.float32(width)
    down, along = 1 / scale, width / cells * (1 + 1e-12)  # PyTorch rounds sizes down
    exact = scale == 1 + 2 * float(share) and np.float32(scale / 2) - np.float32(0.5) == share
    if not exact or np.float32(1 / down) != scale or np.float32(1 / along) != across or int(cells * along) != width:
        return None
    found = torch.nn.functional.interpolate(
        three[None, None], scale_factor=(down, along), mode="bilinear", align_corners=False,
        recompute_scale_factor=False,
    )  # fmt: skip
    values: Floats = found[0, 0, 0].numpy()
    return values


def _shares(torch: Any, cells: int, pixels: int, rows: list[int]) -> list[tuple[int, np.float32]]:
    """For each row of pixels: the row of cells before it, and the share of the next one, as PyTorch rounds it.

    Found from its answers: cells are zero but for one in three, which is 1, so that each answer is one weight, and
    nothing is rounded.
    """
    probes = torch.from_numpy((np.arange(cells)[:, None] % 3 == np.arange(3)).astype(np.float32))  # [cells, 3]
    answers = torch.nn.functional.interpolate(
        probes[None, None], size=(pixels, 3), mode="bilinear", align_corners=False
    )[0, 0].numpy()  # [pixels, 3]
    found = []
    for row in rows:
        nearest = min(max(round((row + 0.5) * cells / pixels - 0.5), 0), cells - 1)
        before = nearest - 1 if answers[row, (nearest - 1) % 3] > 0 and nearest else nearest
        found.append((before, answers[row, (before + 1) % 3]))
    return found


@cache
def _rows_are_alike(torch: Any) -> bool:
    """Whether rows that are found alone have the very values of the whole, in this process."""
    random = np.random.default_rng(0)
    for side, size in ((30, (211, 301)), (16, (150, 128)), (58, (97, 400))):
        cells = torch.from_numpy(random.random((side, side), np.float32))
        whole = torch.nn.functional.interpolate(cells[None, None], size=size, mode="bilinear", align_corners=False)
        rows = random.integers(0, size[0], 8).tolist()
        for row, (before, share) in zip(rows, _shares(torch, side, size[0], rows), strict=True):
            after = min(before + 1, side - 1)
            alone = _row(torch, cells[[before, after, after]], side, size[1], share)
            if alone is not None and not np.array_equal(alone, whole[0, 0, row].numpy()):
                return False
    return True
