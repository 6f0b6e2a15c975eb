"""What the ids in a sample of masks say: instances, classes, or one class in black and white."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.data.pictures import opened
from segkit.errors import InputError
from segkit.formats.label_images.pairs import LOSSY, ImageAndMask
from segkit.formats.label_images.read import Ids, read_ids, values_in

WHITE = 255
_SAMPLE = 24
_PURE, _NEAR, _GREYS = 0.8, 0.95, 8  # shares of pixels, and distinct grey values, of a blurred black and white mask


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a sample of masks holds.

    Attributes:
        values: The ids in any of them; blurred black and white counts as 0 and 255.
        counted: Whether each has the ids 1 to n, and n differs; or whether they have more than 8 bits.
    """

    values: frozenset[int]
    counted: bool

    @property
    def single(self) -> int | None:
        """The only id beside 0, where the masks are 0 and one id; else None."""
        others = self.values - {0}
        return next(iter(others)) if 0 in self.values and len(others) == 1 else None


def look_at(pairs: Sequence[ImageAndMask]) -> Evidence:
    """Read a sample of masks, evenly chosen; more where they hold nothing but 0."""
    masks = [pair.mask for pair in pairs if pair.mask is not None]
    step = max(1, len(masks) // _SAMPLE)
    values: set[int] = set()
    counts: set[int] = set()
    deep, counted = False, True
    for number, path in enumerate([*masks[::step], *masks]):
        if number >= len(masks[::step]) and values - {0}:
            break
        try:
            with opened(path, path.name) as picture:
                deep = deep or picture.mode.startswith("I")
            ids = read_ids(path)
        except InputError:
            continue
        found = values_in(in_black_and_white(ids, lossy=path.suffix.lower() in LOSSY)[0])
        values.update(found)
        above = [value for value in found if value != 0]
        counted = counted and above == list(range(1, len(above) + 1))
        counts.add(len(above))
    return Evidence(frozenset(values), deep or (counted and len(counts) > 1 and max(counts) > 1))


def in_black_and_white(ids: Ids, *, lossy: bool) -> tuple[Ids, int]:
    """A black and white mask whose edges are grey, as 0 and 255 from the middle on, and the pixels that changed.

    JPEG blurs edges, and drawing programs smooth them. Other masks are returned as they are.
    """
    if ids.dtype != np.uint8:
        return ids, 0
    counts = np.bincount(ids.ravel(), minlength=256)
    if not counts[1:255].any() or not counts[224:].any():
        black = lossy and counts[:32].sum() == ids.size  # a JPEG without the class
        return (np.zeros_like(ids), int(counts[1:].sum())) if black and counts[0] < ids.size else (ids, 0)
    pure, near = counts[0] + counts[255], counts[:32].sum() + counts[224:].sum()
    greys = counts[32:224]
    smooth = counts[255] and pure >= _PURE * ids.size and (greys > 0).sum() >= _GREYS and greys.max() < 0.02 * ids.size
    if not (smooth or (lossy and near >= _NEAR * ids.size)):
        return ids, 0
    return np.where(ids >= 128, np.uint8(WHITE), np.uint8(0)), int(counts[1:255].sum())


def check_sharp(ids: Ids, path: Path) -> None:
    """Refuse ids that JPEG has blurred.

    Raises:
        InputError: A JPEG has more than two ids.
    """
    if path.suffix.lower() in LOSSY and len(values_in(ids)) > 2:
        raise InputError(f"{path.name}: JPEG blurs the numbers in a mask", "export the masks as PNG")
