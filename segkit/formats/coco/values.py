"""The values of COCO's records, checked where they come in: what is no box, mask, number or id is said there."""

import math
from collections.abc import Callable
from typing import Any

from segkit.data.masks import Box
from segkit.data.records import Segmentation

_NUMBERS = {int, float}


def number(value: Any) -> float:
    """A finite number as it is.

    Raises:
        ValueError: It is none.
    """
    if type(value) not in _NUMBERS or not -1e300 < value < 1e300:
        raise ValueError(f"{_shown(value)} is no number")
    return value  # type: ignore[no-any-return]


def identity(value: Any) -> Any:
    """A whole number or a text.

    Raises:
        ValueError: It is neither.
    """
    if type(value) is not int and not isinstance(value, str):
        raise ValueError(f"an id is {_shown(value)}, neither a whole number nor a text")
    return value


def box(value: Any) -> Box:
    """A box xywh.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, list) or len(value) != 4:
        many = f"{len(value)} numbers, not 4" if isinstance(value, list) else _shown(value)
        raise ValueError(f"bbox has {many}")
    x, y, w, h = (number(each) for each in value)
    return (x, y, w, h)


def crowd(value: Any) -> int:
    """Whether an annotation is a crowd: 0 or 1.

    Raises:
        ValueError: It is something else.
    """
    if value is None or value in (0, 1):
        return int(bool(value))
    raise ValueError(f"iscrowd is {_shown(value)}, neither 0 nor 1")


def segmentation(value: Any) -> Segmentation | None:
    """Polygons or run lengths; None where there is nothing, or nothing that has an area.

    Raises:
        ValueError: It is something else.
    """
    if value is None or value in ([], {}):
        return None
    if isinstance(value, list):
        for part in value:
            if not isinstance(part, list) or not set(map(type, part)) <= _NUMBERS or not math.isfinite(sum(part)):
                raise ValueError("a polygon must be a list of numbers: [[x1, y1, x2, y2, ...], ...]")
        return value if any(len(part) >= 6 for part in value) else None
    if isinstance(value, dict):
        size, counts = value.get("size"), value.get("counts")
        whole = isinstance(size, list) and len(size) == 2 and set(map(type, size)) == {int}
        if whole and (isinstance(counts, str) or (isinstance(counts, list) and set(map(type, counts)) <= {int})):
            return value  # type: ignore[return-value]
        raise ValueError("run lengths need a size [height, width] and counts")
    raise ValueError(f"a segmentation is {_shown(value)}, neither polygons nor run lengths")


def told(record: Any, what: str, read: Callable[[Any], Any]) -> Any:
    """Read a record; what is wrong with it is said with its place.

    Raises:
        ValueError: It is not as it should be.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{what} is {_shown(record)}, not a record")
    try:
        return read(record)
    except KeyError as error:
        raise ValueError(f"{what}: key {error} is missing") from error
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"{what}: {error}") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
