"""Images and 16-bit PNGs of instance numbers."""

import csv
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from segkit.conversion.names import names_in_folder, names_in_splits
from segkit.conversion.output import OutputDataset
from segkit.conversion.writers.painting import paint, save, with_masks
from segkit.data.records import IGNORE
from segkit.formats.label_images.idmask import LIST
from segkit.text import spreadsheet_cell

_MOST = 65535  # numbers of 16 bits


def write_idmask_dataset(output: OutputDataset) -> None:
    """Write ``images/`` and ``masks/``, in a folder for each split unless all are in train, and ``instances.csv``."""
    if output.names_splits:
        names = [name.partition("/")[::2] for name in names_in_splits(output.images, folders_name_splits=True)]
    else:
        names = [("", name) for name in names_in_folder(output.images)]
    output.move_pictures([str(PurePosixPath(split, "images", name)) for split, name in names])
    listed: list[tuple[str, int, str]] = []
    for (entry, _, _), (split, name) in zip(output.images_to_write(), names, strict=True):
        instances = (each for each in with_masks(output, entry) if each.label != IGNORE)
        numbers, shown = paint(output, entry, instances, _MOST)
        mask = str(PurePosixPath(split, "masks", name).with_suffix(".png"))
        save(Image.fromarray(numbers.astype(np.uint16)), output.root / mask)
        listed += [(mask, number, instance.label) for number, instance in enumerate(shown, 1)]
    with (output.root / LIST).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "instance", "category"))
        rows.writerows(
            (spreadsheet_cell(mask), number, spreadsheet_cell(label)) for mask, number, label in sorted(listed)
        )
