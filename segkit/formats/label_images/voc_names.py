"""What the ids and colours in VOC's PNGs mean: by a list of classes, by XML files, or as VOC's own twenty classes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segkit.data.label_maps import IGNORED as VOID
from segkit.data.records import BACKGROUND, IGNORE, Finding
from segkit.errors import InputError
from segkit.formats.label_images.class_list import BACKGROUNDS, ClassList, Colour, find_class_list
from segkit.formats.label_images.class_names import ClassNames
from segkit.formats.label_images.read import Ids, read_colours, read_ids
from segkit.formats.label_images.semantic import read_class_ids
from segkit.formats.label_images.voc_objects import read_objects_file

_VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_VOC_STEM = re.compile(r"\d{4}_\d{6}")  # 2007_000032
_VOC_FOLDER = re.compile(r"voc(devkit|20\d\d)", re.IGNORECASE)
_SAMPLE = 20


@dataclass(frozen=True, slots=True)
class VocClasses:
    """The classes of VOC's PNGs.

    Attributes:
        names: By id; empty where nothing names them.
        colours: The id of each colour, for masks that are coloured.
        file: The file that lists them; empty: there is none.
    """

    names: dict[int, str]
    colours: dict[Colour, int]
    file: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories, in the order of their ids."""
        return self.as_regions().labels if self.file else ()

    def as_regions(self) -> ClassNames:
        """The same for masks without objects: 0 is background, 255 is void."""
        names = {number: name for number, name in self.names.items() if number != 0 or name.lower() not in BACKGROUNDS}
        return ClassNames({0: BACKGROUND, **names}, "background", self.file, self.colours)

    def read_ids(self, path: Path) -> Ids:
        """The class ids of a mask [H, W], by their colours where it is coloured."""
        return read_class_ids(path, self.as_regions(), coded=False)

    def name_of(self, ids: Ids, listed: str) -> str | None:
        """The name of the most frequent class among the pixels of an object; None: all are background or void.

        Args:
            ids: Class ids of its pixels.
            listed: Its name in the XML file, which counts where no list names the class.
        """
        values, counts = np.unique(ids[(ids > 0) & (ids != VOID)], return_counts=True)
        if not values.size:
            return listed or None
        _, value = max(zip(counts.tolist(), values.tolist(), strict=True))
        return self.names.get(value) or listed or f"class_{value}"


def voc_palette() -> dict[Colour, int]:
    """The id of each of VOC's colours: its bits are spread over red, green and blue, the lowest three first."""
    values = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        colours[:, bit % 3] |= ((values >> bit) & 1) << (7 - bit // 3)
    return {(int(r), int(g), int(b)): number for number, (r, g, b) in enumerate(colours)}


def voc_classes(
    folders: Sequence[Path],
    listed: Path | None,
    colours: Path | None,
    annotations: Sequence[Path],
    masks: Sequence[Path],
) -> tuple[VocClasses, tuple[Finding, ...]]:
    """The classes of VOC folders.

    Args:
        folders: Where a list of the classes may be.
        listed: A file of the user with the names of the classes, used where the folders have none.
        colours: A file of the user with names and colours, used instead of theirs.
        annotations: The XML files.
        masks: The PNGs of class ids.

    Raises:
        InputError: The user's file cannot be read.
    """
    found = find_class_list(folders, colours) or (find_class_list([], listed) if listed is not None else None)
    if found is not None:
        found = _background_first(found) if found.colours else found
        return VocClasses(_from_zero(found), found.colours or voc_palette(), found.file), ()
    if _are_vocs_own(folders, annotations, masks):
        return VocClasses(dict(enumerate(_VOC_NAMES)), voc_palette()), ()
    classes = VocClasses({}, voc_palette())
    if not masks or annotations:
        return classes, ()
    why = "no file names the classes: they are called class_1, class_2, ... (class_names.txt, a name in a line, from 0)"
    return classes, (Finding("SegmentationClass", "noted", why, shapes=0),)


def _background_first(found: ClassList) -> ClassList:
    """A list with colours in which the background, black where the list has none, has the id 0."""
    background = next((number for number, name in found.names.items() if name.lower() in BACKGROUNDS), None)
    order = sorted(found.names, key=lambda number: (number != background, number))
    ids = {number: at for at, number in enumerate(order, start=background is None)}
    colours = {colour: ids[number] for colour, number in (found.colours or {}).items()}
    names = {ids[number]: name for number, name in found.names.items()}
    if background is None:
        names, colours = {0: BACKGROUND, **names}, {(0, 0, 0): 0, **colours}
    return replace(found, names=names, colours=colours)


def _from_zero(found: ClassList) -> dict[int, str]:
    """The names by id; in VOC 0 is background, so that a list without a background begins at 1."""
    names = {number: IGNORE if found.is_unlabelled(name) else name for number, name in found.names.items()}
    if found.numbered or found.colours or not names or names.get(0, "background").lower() in BACKGROUNDS:
        return names
    return {0: BACKGROUND, **{number + 1: name for number, name in names.items()}}


def _are_vocs_own(folders: Sequence[Path], annotations: Sequence[Path], masks: Sequence[Path]) -> bool:
    """Whether folders hold PASCAL VOC itself: by the names in XML files, of files, or of the folders."""
    named = {name for path in annotations[:_SAMPLE] for name in read_objects_file(path).names}
    if named:
        return named <= set(_VOC_NAMES)
    if masks and all(_VOC_STEM.fullmatch(path.stem) for path in masks[:_SAMPLE]):
        return True
    return any(_VOC_FOLDER.match(part) for folder in folders for part in folder.absolute().parts[-3:])


def read_objects(path: Path) -> Ids:
    """The object ids of a mask [H, W]; in a coloured one, by VOC's colours.

    Raises:
        InputError: It cannot be decoded.
    """
    try:
        return read_ids(path)
    except InputError:
        coloured = read_class_ids(path, VocClasses({}, voc_palette()).as_regions(), coded=True)
    if (coloured < 0).any():  # other colours: each is an object, black is background
        _, numbers = np.unique(read_colours(path), return_inverse=True)
        flat = numbers.reshape(coloured.shape).astype(np.int32)
        return flat if (read_colours(path) == 0).any() else flat + 1
    return coloured
