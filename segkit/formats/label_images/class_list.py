"""Files that name classes: by their place, by number, or by colour.

| file | a line |
|---|---|
| segkit's ``classes.txt`` | ``0 Sky``, or just ``Sky`` |
| LabelMe's ``class_names.txt``, ``labels.txt`` | ``crack``; ``__ignore__`` first is number -1 |
| CVAT's and datumaro's ``labelmap.txt`` | ``crack:128,0,0::`` (name, colour, parts, actions) |
| Roboflow's ``_classes.csv`` | ``1, crack``, after a heading |
| nnU-Net's ``dataset.json`` | ``{"labels": {"background": 0, "crack": 1}}`` |
| CamVid's ``class_dict.csv`` and ``label_colors.txt`` | ``Animal,64,128,64`` or ``64 128 64 Animal`` |
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.data.files import find_file
from segkit.data.records import BACKGROUND, IGNORE
from segkit.errors import InputError
from segkit.formats.json_file import read_json
from segkit.formats.text import read_text

Colour = tuple[int, int, int]

_FILES = (
    "classes.txt", "class_names.txt", "labelmap.txt", "label_map.txt", "class_dict.csv", "label_colors.txt",
    "labels.txt", "_classes.csv", "dataset.json",
)  # fmt: skip
_LABELMAP = re.compile(r"([^:]+):\s*(?:(\d+)\s*,\s*(\d+)\s*,\s*(\d+))?\s*:[^:]*:[^:]*")
_NAME_FIRST = re.compile(r"(\S.*?)[\s,;:]+(\d+)[\s,;]+(\d+)[\s,;]+(\d+)")
_NAME_LAST = re.compile(r"(\d+)[\s,;]+(\d+)[\s,;]+(\d+)[\s,;:]+(\S.*)")
_NUMBERED = re.compile(r"(\d{1,9})[\s:,]+(\S.*)")
_UNLABELLED = frozenset({"ignore", "ignored", "unlabelled", "unlabeled", IGNORE})
BACKGROUNDS = frozenset({"background", BACKGROUND, "bg"})


@dataclass(frozen=True, slots=True)
class ClassList:
    """The classes that a file names.

    Attributes:
        file: Its name.
        names: By id, as they are written.
        numbered: Whether the file gives ids; otherwise they are the places in it, from 0.
        colours: The id of each colour.
        from_one: Whether places count from 1 where the list has no background, as in LabelMe's lists of labels.
    """

    file: str
    names: dict[int, str]
    numbered: bool = False
    colours: dict[Colour, int] | None = None
    from_one: bool = False

    @property
    def has_background(self) -> bool:
        """Whether a class is called background."""
        return any(name.lower() in BACKGROUNDS for name in self.names.values())

    @property
    def real_names(self) -> list[str]:
        """The names of what is neither background nor unlabelled, in the order of their ids."""
        ordered = [name for _, name in sorted(self.names.items())]
        return [name for name in ordered if name.lower() not in BACKGROUNDS and not self.is_unlabelled(name)]

    def is_unlabelled(self, name: str) -> bool:
        """Whether a name says that its pixels have no label.

        ``void`` says so where it has the id 255, or where the list has no background: next to a background it is a
        class, such as the voids in solder.
        """
        plain = re.sub(r"[\s()\[\]]+", " ", name.lower()).strip()
        if plain == "void":
            return self.names.get(255) == name or not self.has_background
        words = set(plain.split())
        return bool(words & _UNLABELLED) and words <= _UNLABELLED | {"void"}


def find_class_list(folders: Iterable[Path], given: Path | None = None) -> ClassList | None:
    """The list of classes in a file that the user names, or in the first folder that has one; None: there is none.

    Raises:
        InputError: The file that the user names cannot be read, or names no class.
    """
    if given is not None:
        found = read_class_list(given)
        if not found.names:
            raise InputError(f"{given}: names no class", "a line for each: crack, or 1 crack, or crack:128,0,0::")
        return replace(found, from_one=True)
    for folder in folders:
        path = find_file([folder], _FILES)
        if path is not None and (listed := read_class_list(path)).names:
            return replace(listed, from_one=path.name == "labels.txt")
    return None


def read_class_list(path: Path) -> ClassList:
    """Read a file that names classes.

    Raises:
        InputError: It cannot be read.
    """
    if path.name == "dataset.json":
        return ClassList(path.name, _of_nnunet(path), numbered=True)
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if not re.match(r"#\s|#\w+:\w+:", line)]
    while lines and not lines[-1]:
        lines.pop()
    used = [line for line in lines if line]
    if coloured := _coloured(used):
        names = {number: name for number, (name, _) in enumerate(coloured)}
        colours = {colour: number for number, (_, colour) in enumerate(coloured) if colour is not None}
        return ClassList(path.name, names, colours=colours or None)
    matches = [_NUMBERED.fullmatch(line) for line in used]
    if path.suffix.lower() == ".csv" and len(matches) > 1 and matches[0] is None:
        matches = matches[1:]  # a heading, as in Roboflow's _classes.csv
    if used and all(matches):
        return ClassList(path.name, {int(m[1]): m[2] for m in matches if m}, numbered=True)
    first = -1 if lines[:1] == [IGNORE] else 0
    return ClassList(path.name, {number: name for number, name in enumerate(lines, first) if name and number >= 0})


def _of_nnunet(path: Path) -> dict[int, str]:
    """The names in nnU-Net's ``dataset.json``: numbers by name, or names by number; others have none."""
    try:
        top = read_json(path)
    except InputError:
        return {}
    labels = top.get("labels") if isinstance(top, dict) else None
    names: dict[int, str] = {}
    for key, value in labels.items() if isinstance(labels, dict) else ():
        name, number = (key, value) if isinstance(value, int) else (value, key)
        if isinstance(name, str) and str(number).isdigit():
            names[int(number)] = name
    return names


def _coloured(lines: list[str]) -> list[tuple[str, Colour | None]]:
    """Names and colours, if all lines but a heading have them."""
    for pattern, name, first in ((_LABELMAP, 1, 2), (_NAME_LAST, 4, 1), (_NAME_FIRST, 1, 2)):
        matches = [pattern.fullmatch(line) for line in lines]
        if matches and matches[0] is None and not re.search(r"\d", lines[0]):
            matches = matches[1:]  # a heading
        if matches and all(matches):
            found = [(m[name].strip(), _colour([m[first + n] for n in range(3)])) for m in matches if m]
            if all(colour is None or max(colour) < 256 for _, colour in found):
                return found
    return []


def _colour(values: list[str | None]) -> Colour | None:
    if any(value is None or len(value) > 3 for value in values):
        return None
    red, green, blue = (int(value or 0) for value in values)
    return red, green, blue
