"""Integer ids for COCOeval, and names that tell categories apart."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from segkit.data.records import Dataset, Image

_LARGEST = 2**62


@dataclass(frozen=True, slots=True)
class IntegerIds:
    """The integer ids that COCOeval needs, by the ids of a dataset; text or huge ids are numbered in sorted order."""

    images: dict[Any, int]
    categories: dict[Any, int]
    annotations: dict[Any, int]  # only those that differ from the id

    @classmethod
    def of(cls, dataset: Dataset) -> "IntegerIds":
        """The integer ids of a dataset."""
        ids = [a.id for a in dataset.annotations]
        return cls(
            _integers([i.id for i in dataset.images]),
            _integers([c.id for c in dataset.categories]),
            # The id 0 stays: COCOeval's numbers depend on it.
            {} if _all_integers(ids) else {i: n for n, i in enumerate(ids, 1) if i != 0},
        )


def images_by_integer_id(dataset: Dataset) -> dict[int, Image]:
    """The images of a dataset by the ids that COCOeval gets."""
    ids = IntegerIds.of(dataset).images
    return {ids[image.id]: image for image in dataset.images}


def category_names(dataset: Dataset, ids: IntegerIds) -> dict[int, str]:
    """Category names by integer id, made unique."""
    return unique_names({ids.categories[category.id]: category.name for category in dataset.categories})


def unique_names(names: dict[int, str]) -> dict[int, str]:
    """The same names, with the id added to names that occur more than once."""
    count = Counter(names.values())
    while max(count.values(), default=1) > 1:
        names = {number: name if count[name] == 1 else f"{name} ({number})" for number, name in names.items()}
        count = Counter(names.values())
    return names


def _integers(ids: list[Any]) -> dict[Any, int]:
    if _all_integers(ids):
        return {i: i for i in ids}
    comparable = all(isinstance(i, int) for i in ids)
    return {i: number for number, i in enumerate(sorted(ids, key=None if comparable else str), 1)}


def _all_integers(ids: list[Any]) -> bool:
    """Whether all are integers that every engine takes."""
    return all(type(i) is int and abs(i) < _LARGEST for i in ids)
