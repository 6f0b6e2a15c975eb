"""Which attribute of VIA's regions names the category: one for a whole file, so that a category is one thing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from segkit.data.records import Finding

_NAMES = ("label", "class", "category", "name", "type", "object", "object_name", "class_name", "label_name")
NO_NAME = "object"  # of a region without a value


class Chosen(NamedTuple):
    """The attribute that names categories (None: regions have none), and what is said about the choice."""

    name: str | None
    findings: tuple[Finding, ...] = ()


def choose_attribute(regions: Sequence[Any], key: str) -> Chosen:
    """The attribute that most regions have a value of.

    Attributes that are called as categories usually are count first, if half of the regions have a value. Values that
    are all different number the regions, and name no categories, unless there is no other attribute.

    Args:
        regions: Of all images of a file.
        key: Names the file in findings.
    """
    values: dict[str, list[Any]] = {}
    for region in regions:
        for name, value in attributes_of(region).items():
            if ticked(value):
                values.setdefault(name, []).append(str(ticked(value)[0]))
    if not values:
        why = f"regions have no attribute that names a category: they are called {NO_NAME!r}"
        return Chosen(None, (Finding(key, "noted", why, shapes=0),) if regions else ())

    def rank(name: str) -> tuple[Any, ...]:
        usual = name.lower() in _NAMES and len(values[name]) * 2 >= len(regions)
        numbering = len(values[name]) > 2 and len(set(values[name])) == len(values[name])
        place = _NAMES.index(name.lower()) if name.lower() in _NAMES else len(_NAMES)
        return (usual, not numbering, len(values[name]), -place, -len(set(values[name])), name)

    best = max(values, key=rank)
    others = [name for name in values if name != best]
    if not others and len(values[best]) == len(regions):
        return Chosen(best)
    why = f"the attribute {best[:80]!r} names the categories: {len(values[best])} of {len(regions)} regions have it"
    if others:
        why += f" (others are kept as attributes: {', '.join(repr(name[:80]) for name in others[:5])})"
    return Chosen(best, (Finding(key, "noted", why, shapes=0),))


def attributes_of(region: Any) -> dict[str, Any]:
    """The ``region_attributes`` of a region, whatever it is."""
    own = region.get("region_attributes") if isinstance(region, dict) else None
    return own if isinstance(own, dict) else {}


def ticked(value: Any) -> list[Any]:
    """The values that an attribute has: one, none, or several ticked boxes (``{"crack": true}``)."""
    if isinstance(value, dict):
        return [name for name, on in value.items() if on and on != "false" and name]
    if isinstance(value, bool) or value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else []
