"""A COCO dataset, streamed: only the annotations of one image are in memory at a time."""

from collections.abc import Iterator

from segkit.convert.output import OutputDataset
from segkit.data.records import Image
from segkit.formats.coco.write import write_coco


def write_coco_dataset(output: OutputDataset) -> None:
    """Write ``train.json``, ``val.json``, ``test.json``, ``labels.txt`` and ``images/``."""
    (output.root / "images").mkdir(exist_ok=True)
    output.move_pictures([f"images/{name}" for name in output.names])
    for split in output.splits:
        path = output.root / f"{split}.json"
        write_coco(path, _images(output, split), _annotations(output, split), output.categories, output.uncovered)
    names = "".join(f"{category.name}\n" for category in output.categories)
    (output.root / "labels.txt").write_text(names, encoding="utf-8")


def _images(output: OutputDataset, split: str) -> Iterator[Image]:
    for number, (entry, name) in enumerate(output.of_split(split), 1):
        file_name = output.reference(entry, "images") or name
        yield Image(number, file_name, entry.height, entry.width, entry.flags)


def _annotations(output: OutputDataset, split: str) -> Iterator[bytes]:
    ids = {category.name: category.id for category in output.categories}
    number = 0
    for image_id, (entry, _) in enumerate(output.of_split(split), 1):
        output.progress.advance()
        for name, line in output.coco_lines(entry):
            number += 1
            yield b'{"id":%d,"image_id":%d,"category_id":%d,%b' % (number, image_id, ids[name], line)
