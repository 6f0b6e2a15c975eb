"""The lines of a YOLO label file: a category number, then a polygon or a box in shares of the image's size.

| numbers after the category | what they are |
|---|---|
| 4, 5 | a box: centre, width, height; and its score |
| 6, the last a whole number of 2 or more | a box with its score and the number of its track |
| 4 + n * d, where ``data.yaml`` has ``kpt_shape: [n, d]`` | a box with keypoints |
| 6 and more | a polygon, also where it is an oriented box of four points; an odd number ends with a score |
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from segkit.data.masks import measure
from segkit.data.records import Finding, Instance

_SLIGHTLY, _PIXELS = 0.1, 2.0  # outside of 0 to 1: so far it is a rounding error; beyond, it is pixels
_MOST_CLASSES = 1_000_000
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


@dataclass(frozen=True, slots=True)
class LineRules:
    """How lines are read.

    Attributes:
        names: Of the categories, by number.
        keypoints: How many numbers follow the box in a file of poses; 0: it has none.
    """

    names: dict[int, str]
    keypoints: int = 0


@dataclass(slots=True)
class _Line:
    """A line on its way to an instance; ``notes`` are its rows: action and reason."""

    category: int
    values: list[float]
    notes: list[tuple[Any, str]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)


def read_labels(
    lines: Sequence[str], rules: LineRules, key: str, height: int, width: int
) -> tuple[list[Instance], list[Finding]]:
    """The instances of a label file, and what is to be said about its lines.

    Args:
        lines: Those that are not empty.
        rules: How they are read.
        key: Names the image in findings.
        height: Of the image.
        width: Likewise.
    """
    instances: list[Instance] = []
    findings: list[Finding] = []
    seen: set[str] = set()
    all_odd = all(len(_words(line)[0]) % 2 == 0 and len(_words(line)[0]) >= 8 for line in lines)
    for number, text in enumerate(lines):
        name = None
        try:
            line = _parse(text)
            name = rules.names.get(line.category, f"class_{line.category}")
            if rules.names and line.category not in rules.names:
                line.notes.append(("noted", "a category that is not among the names: called class_ and its number"))
            instances.append(_instance(line, name, rules, height, width, scored=all_odd))
        except ValueError as error:
            findings.append(Finding(key, "left out", str(error), number, name))
            continue
        if (bare := " ".join(_words(text)[0])) in seen:
            line.notes.append(("noted", "duplicate: the same line twice"))
        seen.add(bare)
        findings += [Finding(key, action, why, number, name, shapes=0) for action, why in line.notes]
    return instances, findings


def is_label_line(line: str) -> bool:
    """Whether a line looks like one of a label file: a category, and four or more shares of the image's size."""
    words, _ = _words(line)
    try:
        values = [float(word) for word in words]
    except ValueError:
        return False
    return len(values) >= 5 and values[0] >= 0 and values[0].is_integer() and all(-0.1 <= v <= 1.1 for v in values[1:5])


def _words(line: str) -> tuple[list[str], bool]:
    """The numbers of a line, and whether they have decimal commas."""
    words = line.split()
    if (
        len(words) >= 5
        and "." not in line
        and all(_DECIMAL_COMMA.fullmatch(word) or word in "01" for word in words[1:])
    ):
        return [word.replace(",", ".") for word in words], "," in line
    return re.split(r"[\s,;]+", line.strip().strip(",;")), False


def _parse(text: str) -> _Line:
    """The category and the numbers of a line.

    Raises:
        ValueError: It has other words than numbers, or no category.
    """
    words, commas = _words(text)
    try:
        first, *values = [float(word) for word in words]
    except ValueError as error:
        raise ValueError("not a line of numbers") from error
    if not all(isfinite(value) for value in (first, *values)):
        raise ValueError("numbers that are not finite")
    if not first.is_integer() or not 0 <= first < _MOST_CLASSES:
        raise ValueError("the category is not a whole number from 0")
    line = _Line(int(first), values)
    if commas:
        line.notes.append(("repaired", "decimal commas are read as points"))
    return line


def _instance(line: _Line, name: str, rules: LineRules, height: int, width: int, *, scored: bool) -> Instance:
    """The instance of a line.

    Raises:
        ValueError: It is neither a polygon nor a box, or outside the image.
    """
    values = line.values
    if len(values) < 4:
        raise ValueError("a line of fewer than 4 numbers after the category is neither a polygon nor a box")
    if (rules.keypoints and len(values) == 4 + rules.keypoints) or _has_visibility(values):
        line.notes.append(("changed", "keypoints are left out: the box is kept"))
        line.values = values[:4]
    elif len(values) == 6 and values[5] >= 2 and values[5].is_integer() and 0 <= values[4] <= 1:
        line.attributes = {"score": values[4], "track_id": int(values[5])}
        line.values = values[:4]
    elif len(values) == 5:
        line.attributes = {"score": values[4]}
        line.values = values[:4]
    elif len(values) % 2:
        line.values = values[:-1]
        if scored and 0 <= values[-1] <= 1:
            line.attributes = {"score": values[-1]}
        else:
            line.notes.append(("repaired", "an odd number of coordinates: the last is ignored"))
    _check_shares(line)
    return _box(line, name, height, width) if len(line.values) == 4 else _polygon(line, name, height, width)


def _has_visibility(values: list[float]) -> bool:
    """Whether numbers after a box are keypoints with a visibility of 0, 1 or 2: no share of an image is 2."""
    flags = values[6::3]
    return len(values) > 6 and (len(values) - 4) % 3 == 0 and 2.0 in flags and set(flags) <= {0.0, 1.0, 2.0}


def _check_shares(line: _Line) -> None:
    """Move coordinates that are slightly outside of the image to its border.

    Raises:
        ValueError: They are far outside, or pixels.
    """
    low, high = min(line.values), max(line.values)
    if high > _PIXELS:
        raise ValueError("coordinates are shares of the picture, not pixels")
    if low < -_SLIGHTLY or high > 1 + _SLIGHTLY:
        raise ValueError("coordinates outside of the picture: its shares are 0 to 1")
    if (low < 0 or high > 1) and len(line.values) > 4:
        line.values = [min(max(value, 0.0), 1.0) for value in line.values]
        line.notes.append(("repaired", "coordinates slightly outside of 0 to 1 are moved to the border"))


def _box(line: _Line, name: str, height: int, width: int) -> Instance:
    x, y, w, h = (value * (height if index % 2 else width) for index, value in enumerate(line.values))
    return Instance.of_box(name, (x - w / 2, y - h / 2, w, h), height, width, attributes=line.attributes)


def _pixels(share: float, side: int) -> float:
    """The coordinate that a share of a side means: the short number that was divided, if there is one."""
    value = share * side
    short = round(value, 9)
    return short if short / side == share else value


def _polygon(line: _Line, name: str, height: int, width: int) -> Instance:
    polygon = [_pixels(value, height if index % 2 else width) for index, value in enumerate(line.values)]
    area, bbox = measure([polygon], height, width)
    if area == 0:
        raise ValueError("covers no pixel of the image")
    if _is_turned_box(polygon):
        line.notes.append(("noted", "four points with right angles: an oriented box is read as a polygon"))
    return Instance(name, [polygon], bbox, area, attributes=line.attributes)


def _is_turned_box(polygon: list[float]) -> bool:
    """Whether a polygon is a rectangle that is not parallel to the image's sides, to a hundredth."""
    if len(polygon) != 8:
        return False
    corners = list(zip(polygon[0::2], polygon[1::2], strict=True))
    sides = [(corners[n][0] - corners[n - 1][0], corners[n][1] - corners[n - 1][1]) for n in range(4)]
    for (x1, y1), (x2, y2) in zip(sides, sides[1:] + sides[:1], strict=True):
        if abs(x1 * x2 + y1 * y2) > 0.01 * ((x1**2 + y1**2) * (x2**2 + y2**2)) ** 0.5:
            return False
    return all(min(abs(x), abs(y)) > 0.02 * max(abs(x), abs(y)) for x, y in sides)
