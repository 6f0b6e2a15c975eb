"""Images and PNGs of class ids, as CamVid has them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from segkit.conversion.names import names_in_splits
from segkit.conversion.output import OutputDataset
from segkit.conversion.spool import ImageEntry
from segkit.conversion.writers.painting import Numbers, count_of, fill, report_crowd, report_hidden, save, with_masks
from segkit.data.label_maps import IGNORED
from segkit.data.records import BACKGROUND, IGNORE, Instance
from segkit.errors import InputError


def write_semantic_dataset(output: OutputDataset) -> None:
    """Write images in ``<split>/``, class ids in ``<split>annot/``, and ``classes.txt``.

    Where pixels under no instance are background, that is class 0 and called ``_background_``; where they are
    unlabelled, they are 255. Regions to ignore are 255 too.
    """
    first = 0 if output.uncovered == "ignore" else 1
    ids = {category.name: category.id - 1 + first for category in output.categories} | {IGNORE: IGNORED}
    if len(output.categories) + first > IGNORED:
        raise InputError(f"{len(output.categories)} categories are too many for class-id PNGs", "use fewer: --map")
    names = names_in_splits(output.images, folders_name_splits=True)
    output.move_pictures(names)
    for (entry, _, split), name in zip(output.images_to_write(), names, strict=True):
        classes = np.full((entry.height, entry.width), 0 if first else IGNORED, np.uint8)
        instances = list(with_masks(output, entry))
        for instance in instances:
            report_crowd(output, entry, instance)
            fill(classes, instance, ids[instance.label])
        _report(output, entry, instances, classes, ids)
        mask = PurePosixPath(f"{split}annot", name.removeprefix(f"{split}/")).with_suffix(".png")
        save(Image.fromarray(classes), output.root / mask)
    listed = [f"0 {BACKGROUND}"] * first + [f"{ids[c.name]} {c.name}" for c in output.categories]
    output.write_lines("classes.txt", [*listed, f"{IGNORED} {IGNORE}"])


def _report(
    output: OutputDataset, entry: ImageEntry, instances: Sequence[Instance], classes: Numbers, ids: Mapping[str, int]
) -> None:
    """Report what other classes hide, and instances that are one region now.

    Args:
        output: Takes the findings.
        entry: The image.
        instances: Its instances, and regions to ignore.
        classes: The class of every pixel [H, W].
        ids: Of the classes.
    """
    for instance in instances:
        report_hidden(output, entry, instance, count_of(classes, instance, ids[instance.label]))
    for label, count in Counter(instance.label for instance in instances).items():
        if count > 1 and label != IGNORE:
            why = "instances of one class in an image are one region"
            output.add_finding(entry, "changed", why, next(each for each in instances if each.label == label))
