"""The heaviest batches that a dataset can bring: its largest pictures, its most crowded ones, and both at once."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from segkit.augment import STRENGTHS
from segkit.dataset import Dataset, Image
from segkit.geometry import Framing, fit
from segkit.plan import Plan

Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One picture as the model would get it, in sizes.

    Attributes:
        name: Its file.
        height: Rows of pixels.
        width: Columns.
        boxes: Whole corners xyxy of its instances [N, 4], the largest first.
        crop_bytes: Of the masks of its instances, cut to their boxes.
    """

    name: str
    height: int
    width: int
    boxes: Boxes
    crop_bytes: int

    @property
    def instances(self) -> int:
        """How many instances it has."""
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A batch to rehearse a step with.

    Attributes:
        name: What makes it heavy.
        shapes: Its pictures.
        frame: The height and width that they are padded to; None: each other's.
        at_most: Whether as many regions are positive as the model allows, or as few as in the first steps.
    """

    name: str
    shapes: tuple[Shape, ...]
    frame: tuple[int, int] | None
    at_most: bool

    @property
    def heaviest(self) -> Shape:
        """The picture to name."""
        return max(self.shapes, key=lambda shape: (shape.instances, shape.height * shape.width))


def scenes_of(plan: Plan, count: int) -> list[Scene]:
    """The batches that a training has to get through, the last of them heavier than any that can come.

    Args:
        plan: The training.
        count: Pictures in a batch.
    """
    framing = plan.card.framing
    if framing.kind == "semantic":
        crop = Shape("a crop of any picture", framing.size, framing.size, np.zeros((0, 4), np.int64), 0)
        return [Scene("a crop", (crop,) * count, None, at_most=False)]
    shapes = _shapes(plan.train, framing)
    largest = sorted(shapes, key=lambda shape: (-shape.height * shape.width, -shape.instances))
    crowded = sorted(shapes, key=lambda shape: (-shape.instances, -shape.height * shape.width))
    scenes = [_scene("the largest pictures", largest, count)]
    if {*_some(crowded, count)} != {*_some(largest, count)}:
        scenes.append(_scene("the most crowded pictures", crowded, count))
    return [*scenes, _worst(plan, crowded, count)]


def largest_to_evaluate(plan: Plan) -> Shape | None:
    """The validation picture with the most pixels, as the model would get it."""
    if plan.val is None:
        return None
    shapes = _shapes(plan.val, plan.card.framing, whole=True)
    return max(shapes, key=lambda shape: shape.height * shape.width)


def _scene(name: str, shapes: list[Shape], count: int) -> Scene:
    some = _some(shapes, count)
    return Scene(name, some, (max(s.height for s in some), max(s.width for s in some)), at_most=False)


def _some(shapes: list[Shape], count: int) -> tuple[Shape, ...]:
    """The first ones, over again where there are fewer than asked for."""
    return tuple(shapes[place % len(shapes)] for place in range(count))


def _worst(plan: Plan, crowded: list[Shape], count: int) -> Scene:
    """The most crowded pictures, each as large as the largest frame, as strongly varied as may be."""
    strength = STRENGTHS[plan.config.augment]
    scale = strength.scale[1]
    height, width = (round(scale * max(getattr(s, side) for s in crowded)) for side in ("height", "width"))
    most_bytes = max(shape.crop_bytes for shape in crowded)
    worst = []
    for shape in _some(crowded, count):
        boxes = (shape.boxes * scale).astype(np.int64)
        if strength.paste:  # and all instances of another picture over them
            boxes = np.concatenate([boxes, (crowded[0].boxes * scale).astype(np.int64)])
        crop_bytes = round(most_bytes * scale**2) * (2 if strength.paste else 1)
        worst.append(replace(shape, height=height, width=width, boxes=boxes, crop_bytes=crop_bytes))
    return Scene("the most crowded pictures in the largest frame", tuple(worst), (height, width), at_most=True)


def _shapes(dataset: Dataset, framing: Framing, whole: bool = False) -> list[Shape]:
    boxes_of: dict[int, list[tuple[float, float, float, float]]] = {}
    for annotation in dataset.annotations:
        if not annotation.iscrowd:
            boxes_of.setdefault(annotation.image_id, []).append(annotation.bbox)
    return [_shape(image, boxes_of.get(image.id, []), framing, whole) for image in dataset.images]


def _shape(image: Image, boxes: list[tuple[float, float, float, float]], framing: Framing, whole: bool) -> Shape:
    height, width = image.height, image.width
    if framing.kind == "instances" or not whole:
        height, width = fit(image.height, image.width, framing.size, framing.max_size)
    xywh = np.asarray(boxes, np.float64).reshape(-1, 4)
    scale = np.array([width / image.width, height / image.height])
    low = np.floor(xywh[:, :2] * scale)
    high = np.ceil((xywh[:, :2] + xywh[:, 2:]) * scale)
    sides = np.array([width, height])
    low = np.clip(low, 0, sides - 1)
    high = np.maximum(np.clip(high, 0, sides), low + 1)
    corners = np.concatenate([low, high], axis=1).astype(np.int64)
    areas = (high - low).prod(axis=1)
    order = np.argsort(-areas, kind="stable")
    return Shape(image.file_name, height, width, corners[order], int(areas.sum()))
