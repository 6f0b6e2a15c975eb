"""Polygons of an annotation file as run lengths, kept beside it: rasterising them takes a third of an evaluation.

``.val.json.runs`` is a COCO file, too, which the engine reads in place of ``val.json``. It begins with the digest of
that file, so that it is not taken for one that has changed, and ends with a digest of itself, so that only a whole one
is taken. Where the folder cannot be written, or a file has few polygons, there is none, and nothing else changes.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from segkit.data.files import temporary_file
from segkit.data.masks import polygons_to_rle
from segkit.data.read_file import read_file
from segkit.errors import InputError
from segkit.evaluation.provenance import digest_of

LEAST = 5_000  # polygons; fewer take less than a tenth of a second
_TAIL = b',"check":"%s"}'


def kept_run_lengths(truth: Path) -> Path | None:
    """The file that stands for an annotation file; None where there is none, or not a whole one of this very file."""
    path = _beside(truth)
    if not path.is_file():
        return None
    try:
        content = read_file(path)
    except InputError:
        return None
    tail = len(_tail(b""))
    whole = len(content) > tail and content[-tail:] == _tail(content[:-tail])
    return path if whole and content.startswith(_head(truth)) else None


def keep_run_lengths(truth: Path, images: Any, annotations: Sequence[Any], categories: Any) -> None:
    """Write the file that stands for an annotation file; where its folder cannot be written, nothing happens.

    Args:
        truth: The annotation file.
        images: Its images, with ``id``, ``height`` and ``width``.
        annotations: Its annotations, whose ``segmentation`` is run lengths, or polygons as text.
        categories: Its categories.
    """
    sizes = {image.id: (image.height, image.width) for image in images}
    records = []
    for annotation in annotations:
        record = msgspec.structs.asdict(annotation)
        if isinstance(annotation.segmentation, list):
            polygons = [msgspec.json.decode(part, type=list[float]) for part in annotation.segmentation]
            record["segmentation"] = polygons_to_rle(polygons, *sizes[annotation.image_id])
        records.append(record)
    document = msgspec.json.encode({"images": images, "annotations": records, "categories": categories})
    content = _head(truth) + document[1:-1]
    try:
        with temporary_file(_beside(truth), shared=True) as temporary:
            temporary.write_bytes(content + _tail(content))
    except OSError:  # a folder that is not the user's, a full disk
        return


def _beside(truth: Path) -> Path:
    return truth.with_name(f".{truth.name}.runs")


def _head(truth: Path) -> bytes:
    return b'{"segkit":{"version":1,"of":"%s"},' % str(digest_of(truth)).encode()


def _tail(content: bytes) -> bytes:
    return _TAIL % blake2b(content, digest_size=16).hexdigest().encode()
