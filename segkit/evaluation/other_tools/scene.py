"""What is scored and how, and the changes that rules of other tools make to it."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from segkit.data.masks import Mask, mask_to_rle, rle_area, rle_bbox, rle_to_mask, to_rle
from segkit.data.records import Annotation, Dataset, Image, Result, Rle, Segmentation
from segkit.evaluation.coco.engine import IouType

_STRIDE, _REDUCED = 32, 4


@dataclass(frozen=True, slots=True)
class Scene:
    """Annotations, results, and how they are scored.

    Attributes:
        dataset: The annotations.
        results: Of its images.
        iou_type: What is compared.
        max_dets: Detections of a category in an image that count.
        trapezoid: AP is the area under the curve by the trapezoid rule, and not the mean of 101 precisions.
    """

    dataset: Dataset
    results: tuple[Result, ...]
    iou_type: IouType
    max_dets: int = 100
    trapezoid: bool = False


Change = Callable[[Scene], Scene]


def above(score: float) -> Change:
    """Only results with a higher score count."""
    return lambda scene: replace(scene, results=tuple(r for r in scene.results if r.score > score))


def at_most(number: int) -> Change:
    """So many results of an image count, over all its categories: those of the highest scores."""

    def change(scene: Scene) -> Scene:
        by_image: dict[int, list[int]] = defaultdict(list)
        for place, result in enumerate(scene.results):
            by_image[result.image_id].append(place)
        kept = {
            place
            for places in by_image.values()
            for place in sorted(places, key=lambda n: -scene.results[n].score)[:number]
        }
        results = tuple(result for place, result in enumerate(scene.results) if place in kept)
        return replace(scene, results=results, max_dets=number)

    return change


def areas_of_masks(scene: Scene) -> Scene:
    """The size of a result is that of its mask, not that of its box."""
    if scene.iou_type == "bbox":
        return scene
    return replace(scene, results=tuple(replace(result, bbox=None) for result in scene.results))


def without_crowds(scene: Scene) -> Scene:
    """Crowds are no annotations: what lies in them is a false positive."""
    return _annotated(scene, tuple(a for a in scene.dataset.annotations if not a.iscrowd))


def without_copies(scene: Scene) -> Scene:
    """An annotation that is there twice counts once."""
    first = {(a.image_id, a.category_id, a.bbox, str(a.segmentation)): a for a in reversed(scene.dataset.annotations)}
    kept = {id(annotation) for annotation in first.values()}
    return _annotated(scene, tuple(a for a in scene.dataset.annotations if id(a) in kept))


def reduced_masks(side: int) -> Change:
    """Masks are compared at a quarter of the image's size in the network, which is ``side`` pixels at the longer side.

    The tool draws polygons at that size and reduces them; here masks are resized to it and reduced likewise.
    """

    def change(scene: Scene) -> Scene:
        if scene.iou_type == "bbox":
            return scene
        sizes = {image.id: image for image in scene.dataset.images}

        def reduced(segmentation: Segmentation | None, image: Image) -> Rle | None:
            if not segmentation:
                return None
            return mask_to_rle(_quarter(rle_to_mask(to_rle(segmentation, image.height, image.width)), side))

        results = tuple(
            replace(r, bbox=None, segmentation=reduced(r.segmentation, sizes[r.image_id])) for r in scene.results
        )
        annotations = tuple(
            _with_mask(a, rle) if (rle := reduced(a.segmentation, sizes[a.image_id])) is not None else a
            for a in scene.dataset.annotations
        )
        images = tuple(_resized(image, side) for image in scene.dataset.images)
        return replace(scene, dataset=replace(scene.dataset, images=images, annotations=annotations), results=results)

    return change


def smaller_on_top(scene: Scene) -> Scene:
    """A pixel belongs to one annotation of its image, the smallest one that covers it."""
    if scene.iou_type == "bbox":
        return scene
    sizes = {image.id: (image.height, image.width) for image in scene.dataset.images}
    new: dict[int, Annotation] = {}
    for image_id, annotations in scene.dataset.annotations_of().items():
        drawn = [a for a in annotations if a.segmentation]
        masks = [rle_to_mask(to_rle(a.segmentation or [], *sizes[image_id])) for a in drawn]
        order = np.argsort([-int(mask.sum()) for mask in masks], kind="stable").tolist()
        owner = np.full(sizes[image_id], -1)
        for n in order:
            owner[masks[n] > 0] = n
        new |= {id(a): _with_mask(a, mask_to_rle(owner == n)) for n, a in enumerate(drawn)}
    return _annotated(scene, tuple(new.get(id(a), a) for a in scene.dataset.annotations))


def trapezoid(scene: Scene) -> Scene:
    """AP is the area under the curve, with straight lines between its points."""
    return replace(scene, trapezoid=True)


def _annotated(scene: Scene, annotations: tuple[Annotation, ...]) -> Scene:
    return replace(scene, dataset=replace(scene.dataset, annotations=annotations))


def _with_mask(annotation: Annotation, rle: Rle) -> Annotation:
    return replace(annotation, segmentation=rle, area=rle_area(rle), bbox=rle_bbox(rle))


def _network_size(height: int, width: int, side: int) -> tuple[int, int]:
    gain = side / max(height, width)
    return max(1, round(height * gain)), max(1, round(width * gain))


def _quarter(mask: Mask, side: int) -> Mask:
    """A mask at the size of the network, padded as its input is, and a quarter of that."""
    height, width = _network_size(mask.shape[0], mask.shape[1], side)
    canvas = np.zeros((_padded(height), _padded(width)), np.uint8)
    canvas[:height, :width] = cv2.resize(mask * np.uint8(255), (width, height)) > 127
    quarter: Mask = cv2.resize(canvas, (canvas.shape[1] // _REDUCED, canvas.shape[0] // _REDUCED)).astype(np.uint8)
    return quarter


def _resized(image: Image, side: int) -> Image:
    height, width = _network_size(image.height, image.width, side)
    return replace(image, height=_padded(height) // _REDUCED, width=_padded(width) // _REDUCED)


def _padded(length: int) -> int:
    return -(-length // _STRIDE) * _STRIDE
