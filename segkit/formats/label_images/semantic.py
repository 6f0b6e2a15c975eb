"""Images and class-id or colour-coded masks (as CamVid): one annotation for each class in an image.

Every class is a category, also a background class. A class named ``_background_`` is no category: no annotation covers
it. Unlabelled pixels are covered by no annotation where the dataset has ``uncovered = ignore``, and are a region to
ignore where it has a background. Masks of 0 and one other id are background and one class.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from segkit.data.label_maps import IGNORED
from segkit.data.pictures import opened
from segkit.data.records import BACKGROUND, IGNORE, Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.label_images.class_list import find_class_list
from segkit.formats.label_images.class_names import ClassNames, name_classes
from segkit.formats.label_images.evidence import check_sharp, in_black_and_white, look_at
from segkit.formats.label_images.pairs import LOSSY, ImageAndMask, homes_of_lists
from segkit.formats.label_images.read import Ids, read_colours, read_ids, read_pair, to_instance, values_in
from segkit.formats.source import Source

_UNKNOWN = -1  # the id of a colour that no class has


def open_semantic(
    root: Path, pairs: Sequence[ImageAndMask], listed: Path | None = None, colours: Path | None = None
) -> Source:
    """The images and masks under a folder, and the class names in its ``classes.txt`` or a file like it.

    Args:
        root: The folder.
        pairs: Those that were found.
        listed: A file of the user with the names of the classes, used where the folder has none.
        colours: A file of the user with the colours of the classes.

    Raises:
        InputError: There are no masks, or a file of the user names no classes.
    """
    if not pairs:
        raise InputError(
            f"{root}: no images with class-id PNGs",
            "expected folders such as train and trainannot, or images and masks, with equal file names; if they have "
            "other names, name the folder of the masks, and that of the pictures with --images-dir",
        )
    classes = find_class_list(homes_of_lists(root, pairs), colours)
    if classes is None and listed is not None:
        classes = find_class_list([], listed)
    if colours is not None and (classes is None or classes.colours is None):
        raise InputError(f"{colours}: gives no colours", "a line for each class, such as crack,128,0,0")
    names, findings = name_classes(classes, look_at([pair for pair in pairs if pair.is_whole]))
    read_unit = partial(read, classes=names, coded=colours is not None)
    return Source(
        "semantic", pairs, read_unit, len(pairs), labels=names.labels, uncovered=names.uncovered, findings=findings
    )


def read(pair: ImageAndMask, classes: ClassNames, *, coded: bool = False) -> ReadFile:
    """Read an image and its mask. Never raises for bad input: that becomes a finding.

    Args:
        pair: The files.
        classes: What the ids mean.
        coded: Whether masks are read as colours also where they have a palette.
    """
    lossy = pair.mask is not None and pair.mask.suffix.lower() in LOSSY

    def find(ids: Ids, findings: list[Finding]) -> Iterator[Instance]:
        if classes.smooth:
            ids, changed = in_black_and_white(ids, lossy=lossy)
            if changed:
                why = "grey edges of a black and white mask: from 128 on they are the class"
                findings.append(Finding(pair.key, "changed", why, shapes=0))
        if lossy and pair.mask is not None:
            check_sharp(ids, pair.mask)
        return find_classes(ids, classes, pair.key, findings)

    return read_pair(pair, find, read=partial(read_class_ids, classes=classes, coded=coded))


def find_classes(ids: Ids, classes: ClassNames, key: str, findings: list[Finding]) -> Iterator[Instance]:
    """An instance for each class in a mask [H, W], and one for the pixels to ignore where others are background.

    Args:
        ids: The mask.
        classes: What its ids mean.
        key: Names the image in findings.
        findings: Takes ids that no class has.
    """
    regions: dict[str, list[int]] = {}
    for value in values_in(ids):
        if value == _UNKNOWN:
            continue
        name = classes.names.get(value) or (IGNORE if value == IGNORED else f"class_{value}")
        regions.setdefault(name, []).append(value)
        if value not in classes.names and value != IGNORED and classes.file:
            findings.append(Finding(key, "noted", f"an id that is not in {classes.file}", value, name, shapes=0))
    drawn = IGNORE in classes.names.values()  # a list that names regions to ignore has some
    for name, values in regions.items():
        if name == BACKGROUND or (name == IGNORE and classes.uncovered == "ignore"):
            continue
        inside = ids == values[0] if len(values) == 1 else np.isin(ids, values)
        yield to_instance(name, inside, num_shapes=0 if name == IGNORE and not drawn else 1)
    if (ids == _UNKNOWN).any():
        why = f"pixels of colours that no class has in {classes.file}: they are unlabelled"
        findings.append(Finding(key, "left out", why))


def read_class_ids(path: Path, classes: ClassNames, *, coded: bool) -> Ids:
    """The class ids of a mask [H, W]; -1 for colours that no class has.

    Raises:
        InputError: It cannot be decoded, or is coloured and the colours are not known.
    """
    if classes.colours is None:
        return read_ids(path)
    codes = {red << 16 | green << 8 | blue: number for (red, green, blue), number in classes.colours.items()}
    known = np.array(sorted(codes), np.int32)
    numbers = np.array([codes[int(code)] for code in known], np.int32)
    with opened(path, path.name) as picture:
        may_be_coloured = coded or picture.mode in ("P", "RGB", "RGBA")
    if not may_be_coloured:
        return read_ids(path)
    coloured = read_colours(path)
    at = np.minimum(np.searchsorted(known, coloured), len(known) - 1)
    meant = known[at] == coloured
    if not coded and not meant.all():  # colours of something else, such as a palette's own
        try:
            return read_ids(path)
        except InputError:
            pass
    return np.where(meant, numbers[at], np.int32(_UNKNOWN))
