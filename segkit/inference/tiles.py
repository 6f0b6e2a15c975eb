"""Large pictures in parts: where the tiles lie, and how instances that several tiles see become one.

Two tiles that overlap see the same pixels there. Instances of one category are the same one where their masks agree
there (IoU of more than a half), or where one that the edge of its tile cuts lies mostly under the other. Masks are only
ever as large as an instance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.data.masks import Mask, crop_to_rle, rle_crop, to_rle
from segkit.data.records import Result

_AGREE = 0.5
_NEAR = 2  # pixels from the edge of a tile: an instance that comes so near is cut by it


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture, in its pixels."""

    top: int
    left: int
    height: int
    width: int


def tiles_of(height: int, width: int, side: int, overlap: int) -> list[Tile]:
    """Tiles that cover a picture, row by row; all are of one size, or as large as a smaller picture.

    Args:
        height: Of the picture.
        width: Likewise.
        side: Of the tiles.
        overlap: Pixels that neighbours share at least; less than ``side``.
    """
    tall, wide = min(side, height), min(side, width)
    tops, lefts = _starts(height, tall, overlap), _starts(width, wide, overlap)
    return [Tile(top, left, tall, wide) for top in tops for left in lefts]


def _starts(whole: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin: evenly, so that the last one ends at the border."""
    if whole <= side:
        return [0]
    count = -(-(whole - side) // (side - overlap)) + 1
    return [round(number * (whole - side) / (count - 1)) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one tile sees of an instance, in pixels of the picture."""

    tile: int
    result: Result
    top: int
    left: int
    bitmap: Mask
    cut: bool


def pieces_of(number: int, tile: Tile, results: Sequence[Result], height: int, width: int) -> Iterator[Piece]:
    """The results of a tile as pieces; those with an empty mask are left out.

    Args:
        number: Of the tile.
        tile: The tile.
        results: In the pixels of the tile.
        height: Of the picture.
        width: Likewise.
    """
    for result in results:
        if result.segmentation is not None:
            crop = rle_crop(to_rle(result.segmentation, tile.height, tile.width))
        else:
            crop = _box_as_mask(result)
        if crop is None:
            continue
        top, left, bitmap = crop
        bottom, right = top + bitmap.shape[0], left + bitmap.shape[1]
        cut = (
            (top < _NEAR and tile.top > 0)
            or (left < _NEAR and tile.left > 0)
            or (bottom > tile.height - _NEAR and tile.top + tile.height < height)
            or (right > tile.width - _NEAR and tile.left + tile.width < width)
        )
        yield Piece(number, result, top + tile.top, left + tile.left, bitmap, cut)


def _box_as_mask(result: Result) -> tuple[int, int, Mask] | None:
    assert result.bbox is not None
    x1, y1 = (round(value) for value in result.bbox[:2])
    x2, y2 = round(result.bbox[0] + result.bbox[2]), round(result.bbox[1] + result.bbox[3])
    return (y1, x1, np.ones((y2 - y1, x2 - x1), np.uint8)) if y2 > y1 and x2 > x1 else None


def merge_pieces(pieces: Sequence[Piece], tiles: Sequence[Tile], height: int, width: int) -> list[Result]:
    """The instances of a picture, by falling score.

    Of pieces of one instance, the best one that no tile cuts is taken; where all are cut, they are united, and the
    score is the highest.

    Args:
        pieces: Of all tiles, in their order.
        tiles: The tiles.
        height: Of the picture.
        width: Likewise.
    """
    group = list(range(len(pieces)))

    def first(place: int) -> int:
        while group[place] != place:
            group[place] = group[group[place]]
            place = group[place]
        return place

    for one, other in _pairs(pieces, tiles):
        a, b = first(one), first(other)
        if a != b and _are_one(pieces[one], pieces[other], _shared(tiles[pieces[one].tile], tiles[pieces[other].tile])):
            group[max(a, b)] = min(a, b)
    members: dict[int, list[Piece]] = {}
    for place, piece in enumerate(pieces):
        members.setdefault(first(place), []).append(piece)
    results = [_united(parts, tiles, height, width) for parts in members.values()]
    return sorted(results, key=lambda result: -result.score)


def _pairs(pieces: Sequence[Piece], tiles: Sequence[Tile]) -> Iterator[tuple[int, int]]:
    """Pieces of one category, of different tiles, whose boxes meet."""
    if not pieces:
        return
    low = np.array([(p.top, p.left) for p in pieces])
    high = low + np.array([p.bitmap.shape for p in pieces])
    of_tile = np.array([p.tile for p in pieces])
    categories = np.array([p.result.category_id for p in pieces])
    begins = np.searchsorted(of_tile, np.arange(len(tiles) + 1))
    for number, tile in enumerate(tiles):
        later = [n for n in range(number + 1, len(tiles)) if _shared(tile, tiles[n]) is not None]
        if not later:
            continue
        others = np.concatenate([np.arange(begins[n], begins[n + 1]) for n in later])
        for place in range(begins[number], begins[number + 1]):
            meet = (low[others] < high[place]).all(1) & (high[others] > low[place]).all(1)
            meet &= categories[others] == categories[place]
            yield from ((place, int(other)) for other in others[meet])


def _shared(a: Tile, b: Tile) -> tuple[int, int, int, int] | None:
    """What two tiles both see: top, left, bottom, right."""
    top, left = max(a.top, b.top), max(a.left, b.left)
    bottom, right = min(a.top + a.height, b.top + b.height), min(a.left + a.width, b.left + b.width)
    return (top, left, bottom, right) if top < bottom and left < right else None


def _are_one(a: Piece, b: Piece, shared: tuple[int, int, int, int] | None) -> bool:
    if shared is None:
        return False
    both, only_a, only_b = _overlap(a, b, shared)
    if both > _AGREE * (only_a + only_b - both):
        return True
    return (a.cut and both > _AGREE * only_a) or (b.cut and both > _AGREE * only_b)


def _overlap(a: Piece, b: Piece, shared: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """Pixels of both, of ``a`` and of ``b`` in what two tiles share."""
    window_a, window_b = _window(a, shared), _window(b, shared)
    (top, left, one), (other_top, other_left, other) = window_a, window_b
    y0, x0 = max(top, other_top), max(left, other_left)
    y1 = min(top + one.shape[0], other_top + other.shape[0])
    x1 = min(left + one.shape[1], other_left + other.shape[1])
    both = 0
    if y1 > y0 and x1 > x0:
        part = one[y0 - top : y1 - top, x0 - left : x1 - left]
        both = int((part & other[y0 - other_top : y1 - other_top, x0 - other_left : x1 - other_left]).sum())
    return both, int(one.sum()), int(other.sum())


def _window(piece: Piece, shared: tuple[int, int, int, int]) -> tuple[int, int, Mask]:
    """The part of a mask in a window of the picture."""
    top, left, bottom, right = shared
    y0, x0 = max(piece.top, top), max(piece.left, left)
    rows = slice(y0 - piece.top, max(y0, bottom) - piece.top)
    columns = slice(x0 - piece.left, max(x0, right) - piece.left)
    return y0, x0, piece.bitmap[rows, columns]


def _united(parts: Sequence[Piece], tiles: Sequence[Tile], height: int, width: int) -> Result:
    """The instance that pieces show, in the pixels of the picture."""
    whole = [part for part in parts if not part.cut]
    if whole or len(parts) == 1:
        best = max(whole or parts, key=lambda part: part.result.score)
        found = best.result
        tile, box = tiles[best.tile], found.bbox
        if box is not None:
            box = (box[0] + tile.left, box[1] + tile.top, box[2], box[3])
        masked = found.segmentation is not None
        rle = crop_to_rle(best.bitmap, best.top, best.left, height, width) if masked else None
        return Result(found.image_id, found.category_id, found.score, box, rle)
    top, left = min(p.top for p in parts), min(p.left for p in parts)
    bottom = max(p.top + p.bitmap.shape[0] for p in parts)
    right = max(p.left + p.bitmap.shape[1] for p in parts)
    best = max(parts, key=lambda part: part.result.score)
    found = best.result
    rle = None
    if found.segmentation is not None:
        union = np.zeros((bottom - top, right - left), np.uint8)
        for p in parts:
            y, x = p.top - top, p.left - left
            union[y : y + p.bitmap.shape[0], x : x + p.bitmap.shape[1]] |= p.bitmap
        rle = crop_to_rle(union, top, left, height, width)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return Result(found.image_id, found.category_id, found.score, box, rle)
