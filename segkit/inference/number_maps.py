"""Maps with a number for every pixel: id masks of instances, and COCO's panoptic PNGs with their annotation file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segkit.data.masks import rle_crop, to_rle
from segkit.data.panoptic_merge import Panoptic
from segkit.data.records import Category, Image
from segkit.formats.coco.write import write_coco
from segkit.inference.journal import PictureResults

MOST_IDS = 65535  # instances of an id mask: PNGs have 16 bits
PANOPTIC = "panoptic.json"


def id_mask(done: PictureResults) -> npt.NDArray[np.uint16]:
    """Instance numbers from 1 in the order of the results, 0 for none; the one of the highest score is on top.

    Instances beyond those that 16 bits can number, of the lowest scores, are not in it.
    """
    out = np.zeros((done.height, done.width), np.uint16)
    for number, result in reversed(list(enumerate(done.results[:MOST_IDS], 1))):
        if result.segmentation is None:
            continue
        if (crop := rle_crop(to_rle(result.segmentation, done.height, done.width))) is not None:
            top, left, bitmap = crop
            out[top : top + bitmap.shape[0], left : left + bitmap.shape[1]][bitmap > 0] = number
    return out


def segments_picture(panoptic: Panoptic) -> npt.NDArray[np.uint8]:
    """The id of each pixel's segment as red + 256 * green + 65536 * blue, [H, W, 3]; 0 is none."""
    return np.stack([panoptic.numbers >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def write_panoptic(
    path: Path, pictures: Iterable[PictureResults], categories: Sequence[Category], stuff: frozenset[int]
) -> int:
    """Write the annotation file of panoptic PNGs, which are in the folder of its name.

    Args:
        path: The file.
        pictures: From the journal, each with the records of its segments.
        categories: Of the model.
        stuff: Ids of those that are stuff.

    Returns:
        How many pictures have no segments, and are left out: an earlier call predicted them without.
    """
    known = [replace(done, results=()) for done in pictures]  # without the masks, which may be large
    with_segments = [(number, done) for number, done in enumerate(known, 1) if done.segments is not None]
    kinds = [
        {"id": each.id, "name": each.name, "supercategory": "", "isthing": int(each.id not in stuff)}
        for each in categories
    ]
    images = (Image(number, done.picture.name, done.height, done.width) for number, done in with_segments)
    write_coco(path, images, _annotations(with_segments), kinds)
    return len(known) - len(with_segments)


def _annotations(pictures: Iterable[tuple[int, PictureResults]]) -> Iterator[bytes]:
    for number, done in pictures:
        name = str(PurePosixPath(done.picture.stem + ".png"))
        record: dict[str, Any] = {"image_id": number, "file_name": name, "segments_info": done.segments}
        yield msgspec.json.encode(record)
