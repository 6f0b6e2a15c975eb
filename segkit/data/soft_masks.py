"""Soft masks (probabilities in cells) in frames of their own -> RLE, without making their pixels.

Between the centres of four cells, a bilinear mask is linear down each column of pixels. So its border crosses a column
at most once between two cells, at a place that follows from their two values: time and memory depend on the columns
and the cells, and not on the pixels.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.data.records import Rle
from segkit.data.run_text import write_runs

THRESHOLD = 0.5
_AT_ONCE = 1 << 18  # values of columns at cells, at once: what a processor's cache holds
_PIXELS_AT_ONCE = 1 << 20  # that are decided one by one
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Frames(NamedTuple):
    """How pixels lie over cells along one axis, for each of N masks: pixel i is at cell (i + offset) * step + shift.

    Cells are counted with one of zeros before and after those of the mask, from 0 on.
    """

    first: Ints  # [N] where pixel 0 is in the image
    pixels: Ints  # [N] how many
    offset: Doubles  # [N]
    step: Doubles  # [N] cells a pixel, positive
    shift: float

    def places(self, which: Ints, numbers: Ints) -> Doubles:
        """The places of pixels among the cells."""
        return np.asarray((numbers + self.offset[which]) * self.step[which] + self.shift, np.float64)

    def seen(self, side: int) -> tuple[Ints, Ints]:
        """The first pixel that is inside an image of so many rows (or columns), and the one after the last."""
        return (-self.first).clip(min=0), (side - self.first).clip(max=self.pixels)


# Whether pixels are inside: (numbers of masks [P], in ascending order, their columns [P], their rows [P]) -> [P]
Decide = Callable[[Ints, Ints, Ints], Bools]


class Near(NamedTuple):
    """How another implementation decides, for pixels whose decision rounding could change.

    ``decide`` is asked only about pixels whose value may be as close to the threshold as ``bound``, and about masks
    with values outside 0 to 1.
    """

    bound: float
    decide: Decide


def soft_masks_to_rles(
    masks: Floats, down: Frames, across: Frames, height: int, width: int, near: Near | None = None
) -> list[Rle]:
    """The pixels of each mask with more than 0.5, interpolated between the centres of its cells, zero around them.

    Args:
        masks: [N, M, M], between 0 and 1; where a value is no number, the pixels that depend on it are outside.
        down: Of the rows.
        across: Of the columns.
        height: Of the image.
        width: Likewise.
        near: For the same decisions as another implementation makes; by default a pixel's value decides.
    """
    if not len(masks):
        return []
    decide = near.decide if near is not None else _by_value(masks, down, across)
    odd = no_probabilities(masks)
    cells = np.pad(np.where(odd[:, None, None], np.float32(0), masks), ((0, 0), (1, 1), (1, 1)))
    columns = _Columns.of(down, across, height, width)
    parts = [_crossings(cells, columns, part, down, across, near) for part in columns.parts(cells.shape[-1])]
    crossings = _Crossings(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    close = odd[columns.owner]
    column, runs = _runs(crossings, columns, near, close)
    if close.any():
        column, runs = _decided(decide, columns, close, column, runs)
    owner, places = _as_places(column, runs, columns, down, across, height)
    return _as_rles(places, owner, len(masks), height, width)


def no_probabilities(masks: Floats) -> Bools:
    """Which masks [N, M, M] have values that are not between 0 and 1."""
    return ~np.asarray(((masks >= 0) & (masks <= 1)).all(axis=(1, 2)), np.bool_)


class _Columns(NamedTuple):
    """The columns of pixels that are inside the image, those of one mask after another."""

    owner: Ints  # [C] the mask's number
    pixel: Ints  # [C] its number in the mask's frame
    top: Ints  # [N] the first row in the image, of every mask
    bottom: Ints  # [N] the row after the last

    @staticmethod
    def of(down: Frames, across: Frames, height: int, width: int) -> "_Columns":
        """Those of all masks."""
        left, right = across.seen(width)
        top, bottom = down.seen(height)
        number = (right - left).clip(min=0) * (bottom > top)
        owner = np.repeat(np.arange(len(number)), number)
        pixel = np.arange(len(owner)) + np.repeat(left - (np.cumsum(number) - number), number)
        return _Columns(owner, pixel, top, bottom)

    def parts(self, cells: int) -> Iterator[slice]:
        """As many columns at once as ``_AT_ONCE`` allows; one part at least."""
        size = max(_AT_ONCE // cells, 1)
        for begin in range(0, max(len(self.owner), 1), size):
            yield slice(begin, begin + size)


class _Crossings(NamedTuple):
    """Where columns of pixels enter and leave their masks, in turns, between the centres of two cells."""

    column: Ints  # [X]
    row: Doubles  # [X]
    slope: Doubles  # [X] by how much the value changes from row to row
    close: Ints  # columns with a value at the centre of a cell that is close to the threshold


def _crossings(
    cells: Floats, columns: _Columns, part: slice, down: Frames, across: Frames, near: Near | None
) -> _Crossings:
    """Those of some columns."""
    side = cells.shape[-1]
    owner = columns.owner[part]
    begin, end = (int(owner[0]), int(owner[-1]) + 1) if len(owner) else (0, 1)
    by_columns = cells[begin:end].transpose(0, 2, 1).reshape(-1, side)
    before, share = before_and_share(across.places(owner, columns.pixel[part]), side)
    before += (owner - begin) * side
    low, values = by_columns.take(before, axis=0), by_columns.take(before + 1, axis=0)
    values -= low
    values *= share.astype(np.float32)[:, None]
    values += low  # [columns, cells]: the values at the centres of cells
    flat = values.ravel()
    inside = flat > THRESHOLD
    crossed = np.flatnonzero(inside[1:] != inside[:-1])  # none from column to column: zeros surround each mask
    column = crossed // side
    here = flat.take(crossed).astype(np.float64)
    rise = flat.take(crossed + 1) - here
    step = down.step.take(owner).take(column)
    row = crossed - column * side + (THRESHOLD - here) / rise
    row = (row - down.shift) / step - down.offset.take(owner).take(column)
    close = np.zeros(0, np.int64)
    if near is not None:
        surely, perhaps = flat > np.float32(THRESHOLD + near.bound), flat > np.float32(THRESHOLD - near.bound)
        if np.count_nonzero(surely) != np.count_nonzero(perhaps):
            close = np.flatnonzero(surely != perhaps) // side + part.start
    return _Crossings(column + part.start, row, np.abs(rise) * step, close)


def _runs(crossings: _Crossings, columns: _Columns, near: Near | None, close: Bools) -> tuple[Ints, Ints]:
    """Runs down the columns: the column of each; its first row and the row after its last, [2, R].

    Sets ``close`` for the columns in which more pixels have to be decided.
    """
    column, rows, slope, close_at_centres = crossings
    # A value of 0.5 is outside: the first row of a run is after the crossing, the row after its last at it or after it.
    borders = np.floor(rows).astype(np.int64)
    borders[0::2] += 1
    borders[1::2] += rows[1::2] > borders[1::2]
    if near is not None:
        # Beyond the centre of a cell the slope is another one, but there a value is close to the threshold only if the
        # one at the centre is, too.
        close[close_at_centres] = True
        nearest = np.rint(rows)
        asked = np.flatnonzero(np.abs(rows - nearest) * slope <= near.bound)
        close[column[asked[slope[asked] <= 4 * near.bound]]] = True  # not only the nearest row
        row = nearest[asked].astype(np.int64)
        inside = near.decide(columns.owner[column[asked]], columns.pixel[column[asked]], row)
        borders[asked] = row + (inside ^ (asked % 2 == 0))
    return column[0::2], np.stack([borders[0::2], borders[1::2]])


def _decided(decide: Decide, columns: _Columns, close: Bools, column: Ints, runs: Ints) -> tuple[Ints, Ints]:
    """The same runs, but of some columns every pixel is decided."""
    kept = ~close[column]
    column, runs = column[kept], runs[:, kept]
    asked = np.flatnonzero(close)
    heights = (columns.bottom - columns.top)[columns.owner[asked]]
    new_columns, new_runs = [], []
    for some in np.split(asked, np.flatnonzero(np.diff(np.cumsum(heights) // _PIXELS_AT_ONCE)) + 1):
        owner, top = columns.owner[some], columns.top[columns.owner[some]]
        rows = columns.bottom[owner] - top
        ends = np.cumsum(rows)
        which = np.repeat(np.arange(len(some)), rows)
        row = np.arange(len(which)) - np.repeat(ends - rows - top, rows)
        inside = decide(owner[which], columns.pixel[some][which], row)
        framed = np.zeros(len(which) + 2 * len(some) + 1, np.bool_)  # zeros before and after each column
        framed[np.arange(len(which)) + 2 * which + 1] = inside
        crossed = np.flatnonzero(framed[1:] != framed[:-1])
        at = np.searchsorted(ends + 2 * np.arange(1, len(some) + 1), crossed[0::2], side="right")
        new_columns.append(some[at])
        new_runs.append(crossed.reshape(-1, 2).T - (ends - rows + 2 * np.arange(len(some)) - top)[at])
    added = np.concatenate(new_columns)
    places = np.searchsorted(column, added)
    return np.insert(column, places, added), np.insert(runs, places, np.concatenate(new_runs, axis=1), axis=1)


def _as_places(
    column: Ints, runs: Ints, columns: _Columns, down: Frames, across: Frames, height: int
) -> tuple[Ints, Ints]:
    """Runs of columns as places in the image, counted down its columns as COCO does: their masks, and [2, R]."""
    owner = columns.owner.take(column)
    top, bottom = columns.top.take(owner), columns.bottom.take(owner)
    start = (across.first.take(owner) + columns.pixel.take(column)) * height + down.first.take(owner)
    begins, ends = (np.minimum(np.maximum(each, top), bottom) for each in runs)
    some = begins < ends
    return owner[some], np.stack([(begins + start)[some], (ends + start)[some]])


def _as_rles(runs: Ints, owner: Ints, count: int, height: int, width: int) -> list[Rle]:
    """Runs [2, R] in the order of their masks and places as the compressed RLE of each of ``count`` masks."""
    begins, ends = runs
    if len(owner):  # runs that touch, over a column's end, are one run
        apart = (begins[1:] != ends[:-1]) | (owner[1:] != owner[:-1])
        first, last = np.concatenate([[True], apart]), np.concatenate([apart, [True]])
        begins, ends, owner = begins[first], ends[last], owner[first]
    number = np.bincount(owner, minlength=count)
    after = np.cumsum(2 * number + 2)  # borders of a mask: 0, the ends of its runs, the number of pixels
    before = after - 2 * number - 2
    borders = np.zeros(int(after[-1]), np.int64)
    borders[after - 1] = height * width
    place = 2 * np.arange(len(owner)) + 2 * owner + 1
    borders[place], borders[place + 1] = begins, ends
    lengths = np.diff(borders, prepend=0)
    counted = np.ones(len(borders), np.bool_)
    counted[before] = False
    full = (lengths[after - 1] == 0) & (number > 0)  # up to the last pixel of the image
    counted[after[full] - 1] = False
    texts = write_runs(lengths[counted], 2 * number + 1 - full)
    return [{"size": [height, width], "counts": text} for text in texts]


def _by_value(masks: Floats, down: Frames, across: Frames) -> Decide:
    """Decide by the values of pixels in double precision; those that are no numbers are outside."""
    cells = np.pad(masks, ((0, 0), (1, 1), (1, 1)))

    def decide(mask: Ints, column: Ints, row: Ints) -> Bools:
        x, right = before_and_share(across.places(mask, column), cells.shape[-1])
        y, low = before_and_share(down.places(mask, row), cells.shape[-1])
        above, below = (
            cells[mask, line, x].astype(np.float64) * (1 - right) + cells[mask, line, x + 1] * right
            for line in (y, y + 1)
        )
        return np.asarray(above * (1 - low) + below * low > THRESHOLD)

    return decide


def before_and_share(places: Doubles, cells: int) -> tuple[Ints, Doubles]:
    """Of places among cells: the cell before each place, and the share of the next one."""
    places = places.clip(0, cells - 1)
    before = np.minimum(places.astype(np.int64), cells - 2)
    return before, places - before
