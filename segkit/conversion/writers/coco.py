"""A COCO dataset, streamed: only the annotations of one image are in memory at a time."""

from collections.abc import Iterator

from segkit.conversion.output import OutputDataset, OutputImage
from segkit.data.records import Image
from segkit.formats.coco.write import write_coco
from segkit.formats.folds import write_folds


def write_coco_dataset(output: OutputDataset) -> None:
    """Write ``train.json``, ``val.json``, ``test.json``, ``labels.txt``, ``images/``, and ``folds.json`` if wanted."""
    (output.root / "images").mkdir(exist_ok=True)
    output.move_pictures([f"images/{image.name}" for image in output.images])
    info = {"uncovered": "ignore"} if output.uncovered == "ignore" else {}
    for split in output.splits:
        path = output.root / f"{split}.json"
        write_coco(path, _images(output, split), _annotations(output, split), output.categories, info)
    output.write_lines("labels.txt", (category.name for category in output.categories))
    folds = {_file_name(output, i): output.folds[i.name] for i in output.images if i.name in output.folds}
    if folds:
        write_folds(output.root, folds)


def _images(output: OutputDataset, split: str) -> Iterator[Image]:
    chosen = (image for image in output.images if image.split == split)
    for number, image in enumerate(chosen, 1):
        entry = image.entry
        yield Image(number, _file_name(output, image), entry.height, entry.width, entry.flags)


def _file_name(output: OutputDataset, image: OutputImage) -> str:
    return output.reference(image.entry, "images") or image.name


def _annotations(output: OutputDataset, split: str) -> Iterator[bytes]:
    ids = {category.name: category.id for category in output.categories}
    number = 0
    for image_id, image in enumerate(output.images_to_write(split), 1):
        for name, line in output.coco_lines(image.entry):
            number += 1
            yield b'{"id":%d,"image_id":%d,"category_id":%d,%b' % (number, image_id, ids[name], line)
