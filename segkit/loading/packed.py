"""Annotations in a few flat arrays.

Forked loader workers share the parent's memory until it is written to, and Python writes to every object that it reads
(the reference count): a list of 100,000 annotation records would be copied into every worker, page by page. An array
has a single reference count and stays shared.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.data.masks import measure, to_rle
from segkit.data.records import Annotation, Dataset, Image, Polygons, Segmentation
from segkit.errors import InputError

_ROUNDING = 1.5  # px between an annotated box and that of the pixels, for reasons of rounding


class Item(NamedTuple):
    """One annotation as training needs it."""

    label: int
    segmentation: Segmentation
    iscrowd: bool


class FlatAnnotations:
    """The images of a dataset, and their annotations by image, in flat arrays."""

    def __init__(self, dataset: Dataset, labels: dict[int, int], *, accept_boxes: bool) -> None:
        """Pack a dataset.

        Args:
            dataset: What to pack.
            labels: Label by category id.
            accept_boxes: For models of boxes: take the box where an annotation has no segmentation, or one whose own
                box is another. Elsewhere the segmentation is taken: it has the tighter box when it is turned.

        Raises:
            InputError: An annotation has no segmentation, and ``accept_boxes`` is False.
        """
        names = [image.file_name.encode() for image in dataset.images]
        self._names, self._name_ends = (
            np.frombuffer(b"".join(names), np.uint8),
            np.cumsum([len(n) for n in names]),
        )
        self.sizes = np.array([(i.height, i.width) for i in dataset.images], np.int32).reshape(-1, 2)
        self.ids = _packed_ids([image.id for image in dataset.images])
        by_image = dataset.annotations_of()
        placed = [(a, image) for image in dataset.images for a in by_image.get(image.id, [])]
        ordered = [a for a, _ in placed]
        counts = [len(by_image.get(image.id, [])) for image in dataset.images]
        self._first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._labels = np.array([labels[a.category_id] for a in ordered], np.int32)
        self._crowd = np.array([a.iscrowd for a in ordered], np.bool_)
        packed = [_pack(a, image, accept_boxes) for a, image in placed]
        parts = [part for each in packed for part in each]
        self._parts = np.concatenate([[0], np.cumsum([len(each) for each in packed])]).astype(np.int64)
        self._is_rle = np.array([isinstance(part, bytes) for part in parts], np.bool_)
        raw = [part if isinstance(part, bytes) else np.asarray(part, np.float64).tobytes() for part in parts]
        self._bytes = np.frombuffer(b"".join(raw), np.uint8)
        self._ends = np.concatenate([[0], np.cumsum([len(part) for part in raw])]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image:
        """The record of one image."""
        begin = int(self._name_ends[index - 1]) if index else 0
        name = self._names[begin : self._name_ends[index]].tobytes().decode()
        height, width = self.sizes[index].tolist()
        own = self.ids[index]
        return Image(own.item() if isinstance(own, np.generic) else own, name, height, width)

    def items(self, index: int) -> list[Item]:
        """The annotations of one image."""
        height, width = self.sizes[index].tolist()
        out = []
        for a in range(int(self._first[index]), int(self._first[index + 1])):
            polygons: Polygons = []
            segmentation: Segmentation = polygons
            for part in range(int(self._parts[a]), int(self._parts[a + 1])):
                raw = self._bytes[self._ends[part] : self._ends[part + 1]].tobytes()
                if self._is_rle[part]:
                    segmentation = {"size": [height, width], "counts": raw.decode("ascii")}
                else:
                    polygons.append(np.frombuffer(raw, np.float64).tolist())
            out.append(Item(int(self._labels[a]), segmentation, bool(self._crowd[a])))
        return out


def _packed_ids(ids: list[Any]) -> npt.NDArray[Any]:
    """Image ids as an array that gives them back as they are: numbers of 64 bits, texts, or else objects."""
    kinds = set(map(type, ids))
    plain = kinds == {str} or (kinds <= {int} and all(abs(each) < 1 << 63 for each in ids))
    return np.array(ids) if plain else np.array([*ids, None], object)[:-1]


def _pack(annotation: Annotation, image: Image, accept_boxes: bool) -> Sequence[bytes | list[float]]:
    segmentation = annotation.segmentation
    if accept_boxes and (not segmentation or _box_differs(annotation, image)):
        x, y, w, h = annotation.bbox
        return [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if segmentation is None:
        raise InputError(
            f"annotation {annotation.id} has a box but no segmentation",
            "boxes are enough for --model fasterrcnn",
        )
    if isinstance(segmentation, list):
        return segmentation
    return [to_rle(segmentation, *segmentation["size"])["counts"].encode("ascii")]


def _box_differs(annotation: Annotation, image: Image) -> bool:
    """Whether the annotated box says something else than the segmentation, for example what is hidden."""
    if annotation.segmentation is None:
        return True
    limits = np.array([image.width, image.height] * 2)
    corners = []
    for x, y, w, h in (annotation.bbox, measure(annotation.segmentation, image.height, image.width)[1]):
        corners.append(np.clip((x, y, x + w, y + h), 0, limits))
    return bool(np.abs(corners[0] - corners[1]).max() > _ROUNDING)
