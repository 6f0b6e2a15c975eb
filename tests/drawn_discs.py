"""A model that finds drawn discs exactly, in place of a trained one: what becomes of its answers is known."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from random_models import card_of

from segkit.data.geometry import Framing
from segkit.inference.model import LoadedModel
from segkit.models.unet import split_instances

COLOURS = {1: (255, 40, 40), 2: (40, 255, 40)}  # by label: "a" is red, "b" is green


def draw_discs(height, width, discs):
    """An image [H, W, 3] of discs (x, y, radius, label): pixels whose centres are inside; blue is the score."""
    pixels = np.zeros((height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for number, (x, y, radius, label) in enumerate(discs):
        inside = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
        pixels[inside] = (*COLOURS[label][:2], 200 - number % 100)
    return pixels


def find_discs(images):
    """A ``Prediction`` for each image: an instance for every connected part of each colour."""
    return [_find(image.permute(1, 2, 0).cpu().numpy()) for image in images]


def _find(pixels):
    found = []
    for label, colour in COLOURS.items():
        strong = int(np.argmax(colour[:2]))
        marked = (pixels[..., strong] > 128).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=8)
        for part in range(1, count):
            x, y, w, h, _ = stats[part].tolist()
            inside = parts[y : y + h, x : x + w] == part
            score = float(pixels[y : y + h, x : x + w, 2][inside].mean()) / 255
            found.append((score, label, (x, y, x + w, y + h), inside))
    found.sort(key=lambda each: -each[0])
    return {
        "boxes": torch.tensor([box for _, _, box, _ in found], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([label for _, label, _, _ in found], dtype=torch.int64),
        "scores": torch.tensor([score for score, _, _, _ in found], dtype=torch.float32),
        "box_masks": [inside for _, _, _, inside in found],
    }


def label_discs(images):
    """The same of a U-Net: a label for every pixel, and its connected parts."""
    return [split_instances(shares) for shares in shares_of_discs(images)]


def shares_of_discs(images):
    """The probability of every label at every pixel."""
    out = []
    for image in images:
        shares = torch.zeros(3, *image.shape[-2:])
        shares[0] = 1.0
        for label, colour in COLOURS.items():
            marked = image[int(np.argmax(colour[:2]))] > 128
            shares[0][marked], shares[label][marked] = 0.1, 0.9
        out.append(shares)
    return out


def disc_model(path: Path, *, unet=False):
    """A model as ``load`` gives it, whose file is ``path``."""
    path.write_bytes(b"discs")
    card = card_of("unet" if unet else "maskrcnn")
    object.__setattr__(card, "framing", Framing("semantic", 256, 256))  # neither enlarges pictures
    shares = shares_of_discs if unet else None
    return LoadedModel(path, label_discs if unet else find_discs, card, torch.device("cpu"), maps=shares)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path
