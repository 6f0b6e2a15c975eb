"""Target, Prediction, and the border between files and tensors.

Dimension letters: N instances, H and W the image as the model gets it, M the side of a mask head's output,
K categories (labels 1..K; 0 is background). Boxes are xyxy float32 in pixels. Only this module converts between
these and COCO's conventions. On the side of files it works on arrays: exported files predict without PyTorch.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from segkit.data.coverage import Crop
from segkit.data.masks import crop_to_rle
from segkit.data.records import Category, Image, Result, Segmentation, in_label_order
from segkit.models.paste import aligned_to_rles, as_torchvision_to_rles

if TYPE_CHECKING:
    from torch import Tensor

_MASK_THRESHOLD = 0.5
Floats = npt.NDArray[np.float32]


class Target(TypedDict, total=False):
    """The ground truth of one image: instances, with masks in one of two forms, or a label map."""

    boxes: "Tensor"  # [N, 4]
    labels: "Tensor"  # int64 [N]
    masks: "Tensor"  # uint8 [N, H, W]
    box_masks: "Tensor"  # uint8 [sum of h * w]: masks cut to their boxes (whole pixels), one after another, by rows
    corners: list[list[int]]  # ``boxes`` of masks that are cut to them, on the host
    semantic: "Tensor"  # uint8 [H, W], 255 where pixels are ignored; beside instances, where stuff is learnt
    distances: "Tensor"  # uint8 [H, W], normalised distances times 255 (segkit.data.touching)
    weak: "Tensor"  # uint8 [3, H, W]: of an image without annotations, the view that a teacher sees
    seed: int  # of random choices that the model makes for this image
    frame: tuple[int, int]  # height and width that the batch is padded to


class Prediction(TypedDict, total=False):
    """The instances found in one image, by falling score; masks come in one of two forms, or not at all."""

    boxes: "Tensor"  # [N, 4]
    labels: "Tensor"  # int64 [N]
    scores: "Tensor"  # [N]
    masks: "Tensor"  # float [N, M, M]: probabilities in the frame of the box
    box_masks: list[npt.NDArray[np.bool_]]  # N bitmaps [h, w] whose top left pixel is the box's
    semantic: npt.NDArray[np.uint8]  # [H, W]
    classes: "Tensor"  # float [C, h, w]: of a model of stuff, probabilities at a stride: things, then its other classes


class ArrayPrediction(TypedDict, total=False):
    """The same on the host, as arrays: what runtimes without PyTorch give."""

    boxes: Floats  # [N, 4]
    labels: npt.NDArray[np.int64]  # [N]
    scores: Floats  # [N]
    masks: Floats  # [N, M, M]
    box_masks: list[npt.NDArray[np.bool_]]
    semantic: npt.NDArray[np.uint8]
    classes: Floats  # [C, h, w]


def as_array(values: Any) -> Floats:
    """Numbers on the host as float32: an array as it is, a tensor copied from its device."""
    host = values if isinstance(values, np.ndarray) else values.detach().float().cpu().numpy()
    return np.asarray(host, np.float32)


def labels_of(categories: Sequence[Category]) -> dict[int, int]:
    """Label by category id: 1..K in the order of the ids."""
    return {category.id: label for label, category in enumerate(in_label_order(categories), 1)}


class BoxMask(NamedTuple):
    """The mask of an instance as the model gets it, cut to its tight box; ``bitmap`` may be shared."""

    label: int
    top: int
    left: int
    bitmap: npt.NDArray[np.uint8]  # [h, w], 0 or 1, h and w positive

    @property
    def crop(self) -> Crop:
        """The mask without its label."""
        return Crop(self.top, self.left, self.bitmap)


def box_masks_to_target(masks: Sequence[BoxMask]) -> Target:
    """The target of a detector: boxes are the tight boxes of the masks."""
    import torch  # noqa: PLC0415 -- for training; files predict without it

    corners = [(m.left, m.top, m.left + m.bitmap.shape[1], m.top + m.bitmap.shape[0]) for m in masks]
    pixels = np.concatenate([m.bitmap.ravel() for m in masks]) if masks else np.zeros(0, np.uint8)
    return {
        "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([m.label for m in masks], dtype=torch.int64),
        "box_masks": torch.from_numpy(pixels),
    }


def prediction_to_results(
    prediction: Prediction | ArrayPrediction,
    image: Image,
    model_height: int,
    model_width: int,
    categories: Sequence[Category],
    *,
    aligned_masks: bool,
) -> list[Result]:
    """A prediction as COCO results in the pixels of the image.

    Masks are never pasted into full images: each is scaled to its own box, thresholded at 0.5 and run-length encoded.

    Args:
        prediction: In the frame that the model got.
        image: The record of the image.
        model_height: Height of that frame.
        model_width: Width of that frame.
        categories: The categories that the labels stand for.
        aligned_masks: How masks lie in their boxes (``DetectorSettings``): to a fraction of a pixel, or with the very
            runs of torchvision's ``paste_masks_in_image``.
    """
    category_ids = {label: category_id for category_id, label in labels_of(categories).items()}
    scale = np.array([image.width / model_width, image.height / model_height] * 2, np.float32)
    boxes = as_array(prediction["boxes"]) * scale  # [N, 4]
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, image.width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, image.height)
    segmentations: Sequence[Segmentation | None]
    if "masks" in prediction:
        encode = aligned_to_rles if aligned_masks else as_torchvision_to_rles
        segmentations = encode(as_array(prediction["masks"]), boxes, image.height, image.width)
    elif "box_masks" in prediction:
        corners = np.rint(boxes[:, :2]).astype(np.int64).tolist()
        segmentations = [
            crop_to_rle(mask, top, left, image.height, image.width)
            for mask, (left, top) in zip(prediction["box_masks"], corners, strict=True)
        ]
    else:
        segmentations = [None] * len(boxes)
    scores, labels = prediction["scores"].tolist(), prediction["labels"].tolist()
    return [
        Result(image.id, category_ids[label], score, (x1, y1, x2 - x1, y2 - y1), segmentation)
        for label, score, (x1, y1, x2, y2), segmentation in zip(
            labels, scores, boxes.tolist(), segmentations, strict=True
        )
        if label in category_ids
    ]


def mask_in_box(mask: Any, box: Sequence[float]) -> tuple[int, int, npt.NDArray[np.bool_]]:
    """The pixels of an instance, as ``aligned_to_rles`` takes them.

    Args:
        mask: Probabilities [M, M] in the frame of the box, an array or a tensor.
        box: xyxy in pixels.

    Returns:
        The row and the column of the first pixel whose centre is in the box, and the pixels from there on, [h, w].
    """
    x1, y1, x2, y2 = box
    mask = as_array(mask)
    top, down = _cells_at_centres(y1, y2, mask.shape[0])
    left, across = _cells_at_centres(x1, x2, mask.shape[1])
    return top, left, down @ mask @ across.T > _MASK_THRESHOLD


def _cells_at_centres(low: float, high: float, cells: int) -> tuple[int, Floats]:
    """The first pixel whose centre is between two coordinates, and the shares of all such in the cells, [P, cells]."""
    first = math.ceil(low - 0.5)
    centres = np.arange(first, math.ceil(high - 0.5), dtype=np.float32) + np.float32(0.5)
    places = (centres - np.float32(low)) * np.float32(cells / max(high - low, 1e-6)) - np.float32(0.5)
    shares = 1 - np.abs(places[:, None] - np.arange(cells, dtype=np.float32))
    return first, np.asarray(shares.clip(min=0), np.float32)
