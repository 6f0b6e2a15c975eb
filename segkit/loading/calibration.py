"""The images on which the ranges of a model's activations are measured, to compute in 8 bits."""

from pathlib import Path

import torch
from torch import Tensor

from segkit.errors import InputError
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import find_split, split_file
from segkit.formats.pictures.framed import load_framed
from segkit.loading.whole import load_for_model
from segkit.models.card import ModelCard

MOST_TO_CALIBRATE = 64


def calibration_images(data: Path, card: ModelCard) -> list[Tensor]:
    """Up to 64 images of a dataset, evenly spread over its training images, or those of a COCO file.

    Raises:
        InputError: It is not there, or has no images.
    """
    file = data if data.is_file() else split_file(data, "train") or find_split(data, "val")
    dataset = read_coco(file)
    if not dataset.images:
        raise InputError(f"--calibrate {data}: has no images")
    chosen = dataset.images[:: -(-len(dataset.images) // MOST_TO_CALIBRATE)]
    return [
        torch.from_numpy(load_for_model(pixels, card.framing))
        for pixels in (load_framed(dataset.paths.of(each), (each.height, each.width), card.levels) for each in chosen)
    ]
