"""A COCO dataset, streamed: no more than an image's annotations are in memory at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from segkit.convert.outgoing import Outgoing
from segkit.data.records import Image
from segkit.formats.coco.file import image_record, info_record

_encode = msgspec.json.Encoder().encode


def write_coco_dataset(going: Outgoing) -> None:
    """Write ``train.json``, ``val.json``, ``test.json``, ``labels.txt`` and ``images/``."""
    (going.root / "images").mkdir(exist_ok=True)
    going.place_pictures([f"images/{name}" for name in going.names])
    for split in going.splits:
        _write_split(going, split, going.root / f"{split}.json")
    names = "".join(f"{category.name}\n" for category in going.categories)
    (going.root / "labels.txt").write_text(names, encoding="utf-8")


def _write_split(going: Outgoing, split: str, path: Path) -> None:
    with path.open("wb", buffering=1 << 20) as file:
        file.write(b'{"info":' + _encode(info_record(going.uncovered)) + b',"images":[')
        _write_joined(file, _images(going, split))
        file.write(b'],"annotations":[')
        _write_joined(file, _annotations(going, split))
        file.write(b'],"categories":' + _encode(going.categories) + b"}")


def _write_joined(file: BinaryIO, parts: Iterator[bytes]) -> None:
    comma = b""
    for part in parts:
        file.write(comma + part)
        comma = b","


def _images(going: Outgoing, split: str) -> Iterator[bytes]:
    for number, (entry, name) in enumerate(going.of_split(split), 1):
        file_name = going.reference(entry, "images") or name
        yield _encode(image_record(Image(number, file_name, entry.height, entry.width, entry.flags)))


def _annotations(going: Outgoing, split: str) -> Iterator[bytes]:
    ids = {category.name: category.id for category in going.categories}
    number = 0
    for image_id, (entry, _) in enumerate(going.of_split(split), 1):
        going.progress.advance()
        for name, line in going.lines(entry):
            number += 1
            yield b'{"id":%d,"image_id":%d,"category_id":%d,%b' % (number, image_id, ids[name], line)
