"""The entries of LabelMe's ``shapes``, checked, and repaired where that is possible."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from segkit.data.polygons import flatten
from segkit.data.records import Finding, replace_surrogates
from segkit.formats.shapes.regions import Shape

_GEOMETRY = frozenset({"label", "points", "shape_type", "mask", "group_id", "line_color", "fill_color", "fill"})


def read_shapes(
    raw: Sequence[Any], key: str, findings: list[Finding], numbers: Sequence[int] | None = None
) -> list[Shape]:
    """Read every valid entry; the others become findings.

    Args:
        raw: The entries.
        key: The name of the file in findings.
        findings: Takes what is left out or repaired.
        numbers: The place of each entry in the file; None: its place in the list.
    """
    shapes = [
        _shape(entry, number, key, findings)
        for number, entry in zip(range(len(raw)) if numbers is None else numbers, raw, strict=True)
    ]
    return [shape for shape in shapes if shape is not None]


def points_within(raw: list[Any], frame: tuple[int, int]) -> bool:
    """Whether all points lie in a frame (height, width), with a pixel to spare."""
    for entry in raw:
        if not (flat := flatten(entry.get("points")) if isinstance(entry, dict) else None):
            continue
        xs, ys = flat[0::2], flat[1::2]
        if not (min(xs) >= -1 and min(ys) >= -1 and max(xs) <= frame[1] + 1 and max(ys) <= frame[0] + 1):
            return False
    return True


def _far(raw: Any) -> bool:
    """Whether points are pairs of finite numbers."""
    if not isinstance(raw, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in raw):
        return False
    values = [value for pair in raw for value in pair]
    return all(type(value) is int or (type(value) is float and isfinite(value)) for value in values)


def _shape(raw: Any, number: int, key: str, findings: list[Finding]) -> Shape | None:
    """One entry of ``shapes``; None, and a finding, if it is invalid."""
    if not isinstance(raw, dict):
        findings.append(Finding(key, "left out", "not a shape", number))
        return None
    label, kind = raw.get("label"), raw.get("shape_type") or "polygon"
    kind = kind if isinstance(kind, str) else repr(kind)[:40]
    repairs = []
    if isinstance(label, int | float) and not isinstance(label, bool):
        label = _text(label)
        repairs.append(f"label {label} is a number; read as a string")
    if not isinstance(label, str) or not label:
        findings.append(Finding(key, "left out", "no label", number, None, kind))
        return None
    if (whole := replace_surrogates(label)) != label:
        label = whole
        repairs.append("a lone surrogate in the label")
    findings += [Finding(key, "repaired", why, number, label, kind, shapes=0) for why in repairs]
    points = flatten(raw.get("points"))
    if points is None:
        far = _far(raw.get("points"))
        why_not = "points are more than a million pixels away" if far else "points are not pairs of numbers"
        findings.append(Finding(key, "left out", why_not, number, label, kind))
        return None
    mask = raw.get("mask")
    mask = mask if isinstance(mask, str) else None
    return Shape(number, label, kind, points, _group(raw.get("group_id")), mask, _attributes(raw))


def _text(number: int | float) -> str:
    try:
        return str(number)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return "a very large number"


def _group(value: Any) -> int | str | None:
    if isinstance(value, float) and value.is_integer():  # scripts that use pandas write 1.0
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None


def _attributes(raw: dict[str, Any]) -> dict[str, Any]:
    """What a shape has beyond its outline: flags that are on, description, keys of other tools."""
    rest = [name for name in raw if name not in _GEOMETRY]
    if not rest:
        return {}
    attributes = {name: value for name in rest if (value := raw[name]) not in (None, "", {}, [])}
    if isinstance(flags := attributes.pop("flags", None), dict):
        attributes |= {name: True for name, on in flags.items() if on}
    return attributes
