"""A COCO dataset, streamed: no more than an image's annotations are in memory at a time."""

from collections.abc import Iterator

from segkit.convert.outgoing import Outgoing
from segkit.data.records import Image
from segkit.formats.coco.write import write_coco


def write_coco_dataset(going: Outgoing) -> None:
    """Write ``train.json``, ``val.json``, ``test.json``, ``labels.txt`` and ``images/``."""
    (going.root / "images").mkdir(exist_ok=True)
    going.place_pictures([f"images/{name}" for name in going.names])
    for split in going.splits:
        path = going.root / f"{split}.json"
        write_coco(path, _images(going, split), _annotations(going, split), going.categories, going.uncovered)
    names = "".join(f"{category.name}\n" for category in going.categories)
    (going.root / "labels.txt").write_text(names, encoding="utf-8")


def _images(going: Outgoing, split: str) -> Iterator[Image]:
    for number, (entry, name) in enumerate(going.of_split(split), 1):
        file_name = going.reference(entry, "images") or name
        yield Image(number, file_name, entry.height, entry.width, entry.flags)


def _annotations(going: Outgoing, split: str) -> Iterator[bytes]:
    ids = {category.name: category.id for category in going.categories}
    number = 0
    for image_id, (entry, _) in enumerate(going.of_split(split), 1):
        going.progress.advance()
        for name, line in going.lines(entry):
            number += 1
            yield b'{"id":%d,"image_id":%d,"category_id":%d,%b' % (number, image_id, ids[name], line)
