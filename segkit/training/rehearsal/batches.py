"""The heaviest batches of a dataset: its largest images, its most crowded ones, and both combined."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from segkit.data.geometry import Framing, resized_dimensions
from segkit.data.records import Dataset
from segkit.loading.augment import STRENGTHS
from segkit.training.plan import Plan

Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The dimensions of one image as the model would get it.

    Attributes:
        index: Its place in the dataset.
        name: Its file.
        height: Rows of pixels.
        width: Columns.
        boxes: Boxes xyxy of its instances in whole pixels [N, 4], the largest first.
        mask_bytes: Bytes of the masks of its instances, cut to their boxes.
    """

    index: int
    name: str
    height: int
    width: int
    boxes: Boxes
    mask_bytes: int

    @property
    def instances(self) -> int:
        """The number of instances."""
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A batch to rehearse a step with.

    Attributes:
        name: Why it is heavy.
        shapes: Its images.
        frame: Height and width that they are padded to; None: the largest of the batch.
        at_most: Whether as many regions are positive as the model allows, or as few as in the first steps.
    """

    name: str
    shapes: tuple[Shape, ...]
    frame: tuple[int, int] | None
    at_most: bool

    @property
    def heaviest(self) -> Shape:
        """The image to name in messages."""
        return max(self.shapes, key=lambda shape: (shape.instances, shape.height * shape.width))


def scenes_of(plan: Plan, count: int) -> list[Scene]:
    """The heaviest batches of a training; the last one is heavier than any real batch.

    Args:
        plan: The training.
        count: Images in a batch.
    """
    framing = plan.card.framing
    if framing.kind == "semantic":
        crop = Shape(0, "a crop of any picture", framing.size, framing.size, np.zeros((0, 4), np.int64), 0)
        return [Scene("a crop", (crop,) * count, None, at_most=False)]
    pictures = _ResizedImages(plan.things, framing)
    areas, counts = pictures.sides.prod(axis=1), pictures.counts
    largest = pictures.first(np.lexsort((-counts, -areas)), count)
    crowded = pictures.first(np.lexsort((-areas, -counts)), count)
    scenes = [_scene("the largest pictures", largest)]
    if {shape.name for shape in crowded} != {shape.name for shape in largest}:
        scenes.append(_scene("the most crowded pictures", crowded))
    return [*scenes, _worst(plan, pictures, crowded)]


def largest_to_evaluate(plan: Plan, count: int = 1) -> tuple[Shape, ...]:
    """The validation images with the most pixels, as the model would get them; none without a validation split."""
    if plan.val is None:
        return ()
    pictures = _ResizedImages(plan.val, plan.card.framing, whole=True)
    return pictures.first(np.argsort(-pictures.sides.prod(axis=1), kind="stable"), count)


def largest_to_predict(plan: Plan) -> Shape:
    """The image of the dataset with the most pixels, as the model would get it in prediction."""
    splits = [split for split in (plan.train, plan.val) if split is not None and split.images]
    found = [_ResizedImages(split, plan.card.framing, whole=True) for split in splits]
    largest = [each.first(np.argsort(-each.sides.prod(axis=1), kind="stable"), 1)[0] for each in found]
    return max(largest, key=lambda shape: shape.height * shape.width)


def _scene(name: str, shapes: tuple[Shape, ...]) -> Scene:
    return Scene(name, shapes, (max(s.height for s in shapes), max(s.width for s in shapes)), at_most=False)


def _worst(plan: Plan, pictures: "_ResizedImages", crowded: tuple[Shape, ...]) -> Scene:
    """The most crowded images, each as large as the largest frame, with the strongest augmentation."""
    strength = STRENGTHS[plan.config.augment]
    scale = strength.scale[1]
    sides = pictures.sides
    if plan.unlabelled is not None:
        sides = np.concatenate([sides, _ResizedImages(plan.unlabelled, plan.card.framing).sides])
    height, width = (round(scale * int(side)) for side in sides.max(axis=0))
    mask_bytes = round(pictures.most_mask_bytes() * scale**2)
    worst = []
    for shape in crowded:
        boxes = (shape.boxes * scale).astype(np.int64)
        if strength.paste:  # and all instances of another image over them
            boxes = np.concatenate([boxes, (crowded[0].boxes * scale).astype(np.int64)])
        bytes_here = max(
            mask_bytes * (2 if strength.paste else 1), int((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum())
        )
        worst.append(replace(shape, height=height, width=width, boxes=boxes, mask_bytes=bytes_here))
    return Scene("the most crowded pictures in the largest frame", tuple(worst), (height, width), at_most=True)


class _ResizedImages:
    """The dimensions of a dataset's images as the model would get them, and of their instances, without crowds."""

    def __init__(self, dataset: Dataset, framing: Framing, whole: bool = False) -> None:
        self._images = dataset.images
        shrinks = framing.kind == "instances" or not whole
        self.sides = np.array(
            [resized_dimensions(i.height, i.width, framing.size, framing.max_size) if shrinks else (i.height, i.width)
             for i in dataset.images]
        )  # fmt: skip
        place_of = {image.id: place for place, image in enumerate(dataset.images)}
        counted = [a for a in dataset.annotations if not a.iscrowd and a.image_id in place_of]
        self._places = np.array([place_of[a.image_id] for a in counted], np.int64)
        self._boxes = np.array([a.bbox for a in counted], np.float64).reshape(-1, 4)
        self.counts = np.bincount(self._places, minlength=len(dataset.images))

    def first(self, order: npt.NDArray[np.int64], count: int) -> tuple[Shape, ...]:
        """The first ``count`` images in an order, repeated where there are fewer."""
        return tuple(self._shape(int(order[place % len(order)])) for place in range(count))

    def most_mask_bytes(self) -> int:
        """The most bytes of the masks of one image, cut to their boxes; each box may grow by a pixel on each side."""
        scales = self._scales(self._places)
        areas = (self._boxes[:, 2:] * scales + 2).prod(axis=1)
        return int(np.bincount(self._places, weights=areas, minlength=1).max())

    def _scales(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The scale of width and height [N, 2] of some images."""
        before = np.array([(image.width, image.height) for image in self._images], np.float64)
        scales: npt.NDArray[np.float64] = (self.sides[:, ::-1] / before)[places]
        return scales

    def _shape(self, place: int) -> Shape:
        xywh = self._boxes[self._places == place]
        height, width = (int(side) for side in self.sides[place])
        scale, sides = self._scales(np.array([place])), np.array([width, height])
        low = np.clip(np.floor(xywh[:, :2] * scale), 0, sides - 1)
        high = np.maximum(np.clip(np.ceil((xywh[:, :2] + xywh[:, 2:]) * scale), 0, sides), low + 1)
        corners = np.concatenate([low, high], axis=1).astype(np.int64)
        areas = (high - low).prod(axis=1)
        order = np.argsort(-areas, kind="stable")
        return Shape(place, self._images[place].file_name, height, width, corners[order], int(areas.sum()))
