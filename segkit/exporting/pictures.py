"""The images on which a model and its file are compared."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segkit.data.channels import resized, to_grey
from segkit.data.records import Dataset
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import open_split, split_file
from segkit.formats.pictures.framed import load_framed
from segkit.loading.whole import load_for_model
from segkit.models.card import ModelCard
from segkit.runs.folder import dataset_of_run

Pixels = npt.NDArray[np.uint8]
_RGB = 3  # channels


def images_for(dataset: Dataset | None, card: ModelCard) -> tuple[list[tuple[str, Tensor]], bool]:
    """Named images to compare on, and whether they are from a dataset.

    They show many, one and no instance where the dataset has such images, a plain colour, shades of grey, and other
    sizes.
    """
    chosen = _typical(dataset, card) if dataset is not None else []
    is_real = bool(chosen)
    if not is_real:
        noise = np.random.default_rng(0).integers(0, 256, (24, 32, card.channels), dtype=np.uint8)
        chosen = [("made-up blobs", resized(noise, 240, 320, cv2.INTER_CUBIC))]
    name, first = chosen[0]
    if card.channels == _RGB:
        chosen.append((f"{name} in grey", np.repeat(to_grey(first), _RGB, axis=2)))
    chosen.append(("a plain grey picture", np.full((240, 320, card.channels), 114, np.uint8)))
    images = [(name, torch.from_numpy(load_for_model(pixels, card.framing))) for name, pixels in chosen]
    height, width = images[0][1].shape[-2:]
    # Odd sides are padded; the least ones leave a single cell of the deepest map.
    for what, size in (
        ("at another size", (round(0.55 * height) | 1, round(0.7 * width) | 1)),
        ("as a strip", (1, 97)),
    ):
        other = resized(first, *size, cv2.INTER_AREA)
        images.append((f"{name} {what}", torch.from_numpy(other).permute(2, 0, 1).contiguous()))
    return images, is_real


def at_size(images: Sequence[tuple[str, Tensor]], size: tuple[int, int]) -> list[tuple[str, Tensor]]:
    """Images of one size, for a file that takes no others."""
    out = []
    for name, image in images:
        other = resized(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), *size, cv2.INTER_AREA)
        out.append((name, torch.from_numpy(other).permute(2, 0, 1).contiguous()))
    return out


def _typical(dataset: Dataset, card: ModelCard) -> list[tuple[str, Pixels]]:
    """Images of a dataset with many, with one and with no instance, where there are such."""
    by_image = dataset.annotations_of()
    counts = {image.id: len(by_image.get(image.id, ())) for image in dataset.images}
    by_count = sorted(dataset.images, key=lambda image: counts[image.id])
    groups = {
        "many instances": by_count[-1:],
        "one instance": [image for image in by_count if counts[image.id] == 1][:1],
        "no instance": [image for image in by_count if counts[image.id] == 0][:1],
    }
    return [
        (f"{image.file_name} ({what})", load_framed(dataset.paths.of(image), (image.height, image.width), card.levels))
        for what, images in groups.items()
        for image in images
    ]


def dataset_for(source: Path, data: Path | None) -> Dataset | None:
    """The dataset that was named, else the run's where it is still there; the validation split if it has one."""
    if data is not None:
        return open_split(data, "val")
    trained_on = dataset_of_run(source)
    file = trained_on and (split_file(trained_on, "val") or split_file(trained_on, "train"))
    return read_coco(file) if file else None
