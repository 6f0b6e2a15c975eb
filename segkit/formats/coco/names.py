"""Names of categories that differ, where a file gives two categories one name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from segkit.data.records import Category


def with_distinct_names(categories: Sequence[Category], records: Sequence[Any], repairs: list[str]) -> list[Category]:
    """Categories under names that differ: with their supercategory where that tells them apart, else with their id.

    Args:
        categories: Those of a file.
        records: Their records in the file.
        repairs: Takes a sentence for each name that several have.
    """
    count = Counter(category.name for category in categories)
    if max(count.values(), default=1) == 1:
        return list(categories)
    above = {str(raw.get("id")): raw.get("supercategory") for raw in records if isinstance(raw, dict)}
    taken = {name for name, times in count.items() if times == 1}
    named: dict[Any, str] = {}
    for name in (name for name, times in count.items() if times > 1):
        same = [category for category in categories if category.name == name]
        parents = [above.get(str(category.id)) for category in same]
        told_apart = all(isinstance(each, str) and each for each in parents) and len(set(map(str, parents))) == len(
            same
        )
        added = [
            str(parent) if told_apart else str(category.id) for parent, category in zip(parents, same, strict=True)
        ]
        for category, more in zip(same, added, strict=True):
            fresh = f"{name} ({more})"
            while fresh in taken:
                fresh = f"{fresh} ({category.id})"
            taken.add(fresh)
            named[category.id] = fresh
        few = ", ".join(repr(named[category.id]) for category in same[:4])
        repairs.append(f"{len(same)} categories have the name {name!r}: they are called {few}")
    return [replace(category, name=named.get(category.id, category.name)) for category in categories]
