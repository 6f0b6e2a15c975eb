"""What a COCO file has beyond images, annotations and the names of categories: a conversion does not keep it."""

from collections.abc import Sequence
from typing import Any

from segkit.units import counted

_TOP = ("info", "licenses")
_IMAGE = frozenset({"id", "file_name", "height", "width", "flags"})
_CATEGORY = frozenset({"id", "name", "supercategory", "isthing"})
_LVIS = ("neg_category_ids", "not_exhaustive_category_ids")


def not_kept(top: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences on what is lost, and on what is only worth a note: where a picture is from, its licence.

    Args:
        top: The document.
    """
    lost = []
    categories = [raw for raw in _records(top, "categories") if isinstance(raw.get("name"), str)]
    parents = {raw.get("supercategory") for raw in categories if _says_more(raw)}
    if parents:
        own = counted(len(categories), "category", "categories")
        some = counted(len(parents), f"supercategory of {own} is", f"supercategories of {own} are")
        lost.append(f"{some} not kept")
    if keys := _keys(categories, _CATEGORY):
        lost.append(f"of categories, {', '.join(keys)} are not kept")
    images = _records(top, "images")
    if lists := [name for name in _LVIS if any(isinstance(raw.get(name), list) for raw in images)]:
        lost.append(f"of images, {' and '.join(lists)} are not kept: --lvis needs the original file")
    noted = []
    whole = [name for name in _TOP if top.get(name) and top[name] != {"uncovered": "ignore"}]
    if whole:
        noted.append(f"{' and '.join(whole)} of the file are not kept")
    if keys := _keys(images, _IMAGE | set(_LVIS)):
        noted.append(f"of images, {', '.join(keys)} are not kept")
    return tuple(lost), tuple(noted)


def _records(top: dict[str, Any], name: str) -> list[dict[str, Any]]:
    records = top.get(name)
    return [raw for raw in records if isinstance(raw, dict)] if isinstance(records, list) else []


def _says_more(raw: dict[str, Any]) -> bool:
    parent = raw.get("supercategory")
    return isinstance(parent, str) and parent.lower() not in ("", "none", "null") and parent != raw["name"]


def _keys(records: Sequence[dict[str, Any]], known: frozenset[str] | set[str]) -> list[str]:
    """The further keys that records have values for, at most eight of them."""
    found: dict[str, None] = {}
    for raw in records:
        for name in raw.keys() - known - found.keys():
            if raw[name]:  # neither empty nor 0 nor false
                found[name] = None
    return sorted(found)[:8]
