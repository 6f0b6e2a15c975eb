"""What the training targets themselves would score: the upper limit of any model that learns from them.

    python benchmarks/targets_score.py DATASET... [--sizes 128,200,320] [--levels none,light,medium,heavy] [--images 20]

DATASET is a folder that ``segkit convert`` wrote. Four figures for each, by size and level of augmentation; all are
mask AP, but the last:

- ``targets``: of the bitmaps that training sees, scaled back to the frame of the truth, with linear interpolation
  between the centres of pixels, where they are more than one half.
- ``averaged``: of what is possible at this size: the true mask averaged over the area of each pixel of the model, more
  than one half, scaled back likewise. It is computed here, on whole images, with none of segkit's code.
- ``heads``: of a mask head that gives exactly what it is taught, in the true boxes (28 x 28, pasted back by predict).
- ``labels``: mIoU of a U-Net's label maps with the label that covers most of each pixel.

The truth is the annotation in the image's own pixels, and under augmentation the true mask moved by the same warp into
a frame four times as fine as the model's (``labels``: likewise), without what lies outside the image.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from segkit.data.geometry import Framing, Warp, resized_dimensions
from segkit.data.masks import mask_to_rle, rle_area, rle_bbox, rle_to_mask, to_rle
from segkit.data.records import Annotation, Dataset, Image, Result
from segkit.evaluation.coco.score import score_results
from segkit.formats.dataset_folder import open_split
from segkit.loading.augment import STRENGTHS, random_warp
from segkit.loading.dataset import Pictures
from segkit.loading.sampler import Key
from segkit.models.mask_targets import mask_targets
from segkit.models.tensors import BoxMask, box_masks_to_target, labels_of, prediction_to_results

FINE = 4
Bitmap = npt.NDArray[np.uint8]


def fine_truth(mask: Bitmap, there: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float32]:
    """The true mask in a frame ``FINE`` times as fine as the model's."""
    there = there * FINE
    there[:, 2] += there[:, :2] @ (0.5, 0.5) - 0.5  # of the centres of pixels
    moved = cv2.warpAffine(mask.astype(np.float32), there, (width * FINE, height * FINE), flags=cv2.INTER_LINEAR)
    return np.asarray(moved, np.float32)


def enlarged(mask: Bitmap, height: int, width: int) -> Bitmap:
    """A mask scaled to another frame: linear between the centres of pixels, more than one half."""
    return (cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5).astype(np.uint8)


def averaged(mask: npt.NDArray[Any], height: int, width: int) -> Bitmap:
    """The pixels of a smaller frame that are covered by more than one half."""
    down = height < mask.shape[0]
    how = cv2.INTER_AREA if down else cv2.INTER_LINEAR
    return (cv2.resize(mask.astype(np.float32), (width, height), interpolation=how) > 0.5).astype(np.uint8)


def placed(found: tuple[int, int, Bitmap] | None, height: int, width: int) -> Bitmap:
    """A bitmap in its box as one of the whole frame."""
    out = np.zeros((height, width), np.uint8)
    if found is not None:
        top, left, bitmap = found
        out[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
    return out


def annotated(annotation: Annotation, bitmap: Bitmap) -> Annotation:
    """An annotation with another mask."""
    rle = mask_to_rle(bitmap)
    return replace(annotation, segmentation=rle, area=float(rle_area(rle)), bbox=rle_bbox(rle))


def head_results(
    found: list[tuple[int, tuple[int, int, Bitmap]]], frame: tuple[int, int], image: Image, dataset: Dataset
) -> list[Result]:
    """What predict would write if the heads gave their targets."""
    if not found:
        return []
    target = box_masks_to_target([BoxMask(label, *mask) for label, mask in found])
    taught = mask_targets(target, target["boxes"], torch.arange(len(found)), frame, 28, aligned=True)
    scores = torch.ones(len(found))
    prediction: Any = {"boxes": target["boxes"], "labels": target["labels"], "scores": scores, "masks": taught}
    return prediction_to_results(prediction, image, *frame, dataset.categories, aligned_masks=True)


def figures(dataset: Dataset, size: int, level: str) -> dict[str, float]:
    """The three APs of a dataset at a size and a level."""
    framing, rng = Framing("instances", size, round(size * 5 / 3)), np.random.default_rng(0)
    labels, by_image = labels_of(dataset.categories), dataset.annotations_of()
    images: list[Image] = []
    truth: list[Annotation] = []
    results: dict[str, list[Result]] = {"targets": [], "averaged": [], "heads": []}
    for image in dataset.images:
        if level == "none":
            warp = Warp(*resized_dimensions(image.height, image.width, size, framing.max_size))
            frame = image
        else:
            warp = random_warp(rng, STRENGTHS[level], image.height, image.width, framing)  # type: ignore[index]
            frame = replace(image, height=warp.out[0] * FINE, width=warp.out[1] * FINE)
        images.append(frame)
        inside, there, found = warp.inside(), warp.affine(image.height, image.width), []
        for annotation in by_image.get(image.id, []):
            if annotation.iscrowd or annotation.segmentation is None:
                continue
            full = rle_to_mask(to_rle(annotation.segmentation, image.height, image.width))
            if level != "none":
                full = fine_truth(full, there, *warp.out)  # type: ignore[assignment]
            true = (full > 0.5).astype(np.uint8)
            if not true.any():
                continue
            truth.append(annotated(annotation, true))
            ours = warp.box_mask(annotation.segmentation, image.height, image.width, inside)
            if ours is not None:
                found.append((labels[annotation.category_id], ours))
            masks = {"targets": placed(ours, *warp.out), "averaged": averaged(full, *warp.out)}
            for name, mask in masks.items():
                rle = mask_to_rle(enlarged(mask, frame.height, frame.width))
                results[name].append(Result(image.id, annotation.category_id, 1.0, rle_bbox(rle), rle))
        results["heads"] += head_results(found, warp.out, frame, dataset)
    moved = replace(dataset, images=tuple(images), annotations=tuple(truth))
    scores = {name: score_results(moved, some, ("segm",)).segm for name, some in results.items()}
    return {
        name: round(each.at_max_dets["AP"] if each.at_max_dets else each.AP, 4)  # more than 100 instances in an image
        for name, each in scores.items()
        if each is not None
    }


def label_maps(dataset: Dataset, size: int, level: str) -> float:
    """MIoU of label maps and of the label that covers most of each pixel."""
    labels = labels_of(dataset.categories)
    pictures = Pictures(dataset, Framing("semantic", size, size), seed=0, augment=level, accept_boxes=True)  # type: ignore[arg-type]
    both, either = np.zeros(256), np.zeros(256)
    by_image = dataset.annotations_of()
    for index, image in enumerate(dataset.images):
        sample = pictures[Key(0, index)]
        if isinstance(sample, Exception):
            raise sample
        ours = sample.target["semantic"].numpy()
        rng = np.random.default_rng([0, 0, index])
        warp = random_warp(rng, STRENGTHS[level], image.height, image.width, Framing("semantic", size, size))  # type: ignore[index]
        there = warp.affine(image.height, image.width)
        painted = np.zeros((image.height, image.width), np.uint8)
        for annotation in by_image.get(image.id, []):
            if annotation.segmentation is not None:
                mask = rle_to_mask(to_rle(annotation.segmentation, image.height, image.width))
                painted[mask > 0] = labels[annotation.category_id]
        covered = []
        for label in range(len(labels) + 1):
            fine = fine_truth((painted == label).astype(np.uint8), there, *warp.out)
            covered.append(cv2.resize(fine, (warp.out[1], warp.out[0]), interpolation=cv2.INTER_AREA))
        best = np.argmax(covered, axis=0).astype(np.uint8)
        best[np.sum(covered, axis=0) <= 0.5] = 255
        for label in (*range(len(labels) + 1), 255):
            both[label] += ((ours == label) & (best == label)).sum()
            either[label] += ((ours == label) | (best == label)).sum()
    return round(float(np.mean(both[either > 0] / either[either > 0])), 4)


def rows(folder: Path, sizes: list[int], levels: list[str], count: int) -> Iterator[dict[str, object]]:
    """A line for each size and level."""
    dataset = open_split(folder, "train")
    images = dataset.images[:: max(1, len(dataset.images) // count)][:count]
    kept = {image.id for image in images}
    some = replace(dataset, images=images, annotations=tuple(a for a in dataset.annotations if a.image_id in kept))
    for size in sizes:
        for level in levels:
            labels = label_maps(some, size // 32 * 32, level)
            yield {"set": folder.name, "size": size, "level": level, **figures(some, size, level), "labels": labels}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--sizes", default="128,200,320")
    parser.add_argument("--levels", default="none,light,medium,heavy")
    parser.add_argument("--images", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for folder in asked.datasets:
        for row in rows(folder, [int(size) for size in asked.sizes.split(",")], asked.levels.split(","), asked.images):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
