"""Reading a picture with its mask: the ids of a mask file, and the instances that a reader makes of them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.data.masks import crop_to_rle, rle_area, rle_bbox, tight_crop
from segkit.data.pictures import check_mask_size, opened, read_header
from segkit.data.records import AnnotatedImage, Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.pairs import ImageAndMask
from segkit.formats.pictures.look import first_frame, look
from segkit.formats.pictures.scale import scale_image

Ids = npt.NDArray[Any]  # [H, W], whole numbers
IN_TABLE = "the table"  # where a split is from
_ROWS = 256  # of a mask that are looked at together, so that memory stays small
_PAGED = (".tif", ".tiff", ".gif")
_ALPHA = ("LA", "PA", "La", "RGBA", "RGBa")


def read_ids(path: Path) -> Ids:
    """The ids in a mask file [H, W], as they are stored; the colours of a palette do not matter.

    Where every pixel has the same colour and the transparency differs, the transparency is the mask.

    Raises:
        InputError: It cannot be decoded, is coloured, or has values that are no ids.
    """
    with opened(path, path.name) as picture:
        check_mask_size(picture, path.name)
        ids = np.asarray(picture)
        alpha = picture.mode in _ALPHA
    if ids.ndim == 3 and alpha:
        opacity, ids = ids[..., -1], ids[..., :-1]
        if (ids == ids[:1, :1]).all() and opacity.min() != opacity.max():
            return opacity
    if ids.ndim == 3 and all((ids[..., 0] == ids[..., channel]).all() for channel in range(1, ids.shape[2])):
        ids = ids[..., 0]  # a grey image that was saved as RGB
    if ids.ndim != 2:
        raise InputError(
            f"{path.name}: a mask has one number for each pixel (grey or palette), this one has colours",
            "--from semantic --colours FILE reads colours: a line for each class, such as crack,128,0,0",
        )
    if ids.dtype.kind == "f":
        whole = np.isfinite(ids).all() and (np.abs(ids) < 2**31).all() and (ids == np.floor(ids)).all()
        if not whole:
            raise InputError(f"{path.name}: a mask of fractions, or with values that are not finite, has no ids")
        return ids.astype(np.int32)
    return ids.astype(np.uint8) if ids.dtype == np.bool_ else ids


def read_colours(path: Path) -> Ids:
    """The colour of every pixel as one number, red * 65536 + green * 256 + blue.

    Raises:
        InputError: It cannot be decoded.
    """
    with opened(path, path.name) as picture:
        check_mask_size(picture, path.name)
        colours = np.asarray(picture.convert("RGB")).astype(np.int32)
    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]


def values_in(ids: Ids) -> list[int]:
    """The distinct ids, sorted."""
    if ids.dtype == np.uint8:
        counts = sum(np.bincount(row, minlength=256) for row in ids)  # at once it would need 8 bytes for each pixel
        return [int(value) for value in np.flatnonzero(counts)]
    return [int(value) for value in np.unique(ids)]


def read_pair(
    pair: ImageAndMask,
    find_instances: Callable[[Ids, list[Finding]], Iterable[Instance]],
    *,
    read: Callable[[Path], Ids] = read_ids,
    folder: str | None = None,
    num_shapes: int = 0,
) -> ReadFile:
    """Read an image and its mask. Never raises for bad input: that becomes a finding.

    Args:
        pair: The files.
        find_instances: Makes instances of the mask's ids [H, W], and adds findings; may raise ``InputError``.
        read: Reads the mask.
        folder: Where the picture goes below ``images/``; None: where it is below the source, without such a folder.
        num_shapes: How many shapes are lost if the image cannot be read.
    """
    if pair.mask is None:
        return ReadFile(None, (Finding(pair.key, "left out", "a picture without a mask", shapes=0),))
    findings: list[Finding] = []
    instances: tuple[Instance, ...] = ()
    try:
        ids = read(pair.mask)
        findings += _pages(pair.mask, pair.key)
        instances = tuple(find_instances(ids, findings))
        if pair.picture is None:
            raise InputError("a mask without a picture")
        seen = look(pair.picture, pair.key, (ids.shape[0], ids.shape[1]), _never, "the mask has")
    except InputError as error:
        lost = sum(each.num_shapes for each in instances) + sum(r.shapes for r in findings if r.action == "left out")
        about_mask = error.message.startswith(f"{pair.mask.name}: ")
        why = ("the mask: " if about_mask else "") + error.why(pair.mask.name)
        return ReadFile.left_out(pair.key, why, max(lost, num_shapes))
    findings += seen.findings
    num_shapes = sum(each.num_shapes for each in instances)
    key = pair.key if not pair.key.startswith("../") else pair.picture.name
    if folder is None:
        folder = "/".join(part for part in key.split("/")[:-1] if part != "images")
    origin = IN_TABLE if pair.split else None
    drawn = seen.frame.drawn
    image = AnnotatedImage(key, seen.picture, *drawn, instances, pair.split, folder=folder, split_from=origin)
    num_shapes += sum(row.shapes for row in findings if row.action == "left out")
    image = scale_image(image, seen.frame.size, pair.key, findings)
    return ReadFile(image, tuple(findings), num_shapes)


def _pages(mask: Path, key: str) -> list[Finding]:
    """A row where a mask file has several pages: tools write an instance into each."""
    if mask.suffix.lower() not in _PAGED:
        return []
    header = read_header(mask, mask.name)
    if header.frames < 2:
        return []
    return [Finding(key, "left out", first_frame("the mask", header), shapes=header.frames - 1)]


def _never(size: tuple[int, int]) -> bool:
    """Whether a mask lies in a frame whose sides are exchanged: its pixels do not."""
    return False


def to_instance(label: str, inside: npt.NDArray[np.bool_], num_shapes: int = 1) -> Instance:
    """The instance of a region that is not empty; only its bounding box is encoded, which is faster.

    Args:
        label: Its label.
        inside: The region [H, W].
        num_shapes: 0 where the region is a remark on pixels, and nobody drew it.
    """
    crop = tight_crop(inside)
    assert crop is not None
    rle = crop_to_rle(crop[2], crop[0], crop[1], *inside.shape)
    return Instance(label, rle, rle_bbox(rle), rle_area(rle), num_shapes=num_shapes)


def instances_of_ids(ids: Ids, label_of: Callable[[int], str]) -> Iterator[Instance]:
    """An instance for each id but 0, in their order; time depends on the boxes of the instances.

    Args:
        ids: The ids [H, W].
        label_of: The label of an id.
    """
    values = np.array([value for value in values_in(ids) if value != 0], np.int64)
    for value, (top, left, bottom, right) in zip(values.tolist(), _boxes(ids, values).tolist(), strict=True):
        inside = ids[top:bottom, left:right] == value
        rle = crop_to_rle(inside, top, left, *ids.shape)
        yield Instance(label_of(value), rle, rle_bbox(rle), rle_area(rle))


def _boxes(ids: Ids, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The box of each of the sorted values [N, 4]: top, left, bottom, right; the last two are outside."""
    first = np.full((2, len(values)), np.iinfo(np.int64).max)
    last = np.zeros((2, len(values)), np.int64)
    for top in range(0, ids.shape[0], _ROWS):
        rows, columns = np.nonzero(ids[top : top + _ROWS])
        at = np.searchsorted(values, ids[top : top + _ROWS][rows, columns])
        for axis, places in enumerate((rows + top, columns)):
            np.minimum.at(first[axis], at, places)
            np.maximum.at(last[axis], at, places + 1)
    return np.concatenate([first, last]).T
