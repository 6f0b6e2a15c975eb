"""Whole images, unchanged, as arrays: what evaluation and prediction give to a model. Nothing here needs PyTorch."""

from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from segkit.data.depth import Levels
from segkit.data.geometry import Framing, resized_dimensions
from segkit.data.records import Dataset, Image
from segkit.errors import SegkitError
from segkit.loading.decode import decode_framed, resize_rgb
from segkit.loading.packed import FlatAnnotations
from segkit.loading.sampler import Key
from segkit.models.tensors import Target

Pixels = npt.NDArray[np.uint8]


class Sample(NamedTuple):
    """One image for the model, its target, and its record."""

    image: Any  # uint8 [C, H, W]: a tensor for training, an array without a target
    target: Target
    record: Image
    instead_of: str | None = None  # why the image that this one replaces could not be loaded
    key: Key | None = None  # which image of the dataset, and which change of it


class Loads(Protocol):
    """Loads images by key; one that cannot be loaded is its error."""

    def __getitem__(self, key: Key) -> "Sample | SegkitError": ...

    def file_name(self, key: Key) -> str:
        """The name of an image's file."""


class WholePictures:
    """The images of a dataset, whole and without targets."""

    def __init__(self, dataset: Dataset, framing: Framing, levels: Levels | None = None) -> None:
        """Pack a dataset for loading.

        Args:
            dataset: What to load.
            framing: How images are brought to size.
            levels: What values of more than 8 bits become.
        """
        self._images = FlatAnnotations(replace(dataset, annotations=()), {}, accept_boxes=True)
        self._path_of, self._framing, self._levels = dataset.paths.of, framing, levels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: Key) -> Sample | SegkitError:
        record = self._images.image(key.image)
        try:
            pixels = decode_framed(self._path_of(record), (record.height, record.width), self._levels)
        except SegkitError as error:
            return error
        return Sample(load_for_model(pixels, self._framing), {}, record, key=key)

    def file_name(self, key: Key) -> str:
        """The name of an image's file."""
        return self._images.image(key.image).file_name


def size_for_model(height: int, width: int, framing: Framing) -> tuple[int, int]:
    """Height and width of an image as the model gets it in evaluation and prediction."""
    if framing.kind == "semantic":
        return height, width
    return resized_dimensions(height, width, framing.size, framing.max_size)


def load_for_model(pixels: Pixels, framing: Framing) -> Pixels:
    """An image [H, W, C] as the model gets it in evaluation and prediction: uint8 [C, H, W]."""
    height, width = size_for_model(pixels.shape[0], pixels.shape[1], framing)
    return channels_first(resize_rgb(pixels, height, width))


def channels_first(pixels: Pixels) -> Pixels:
    """An image [H, W, C] as [C, H, W], with memory of its own."""
    return np.array(pixels.transpose(2, 0, 1), order="C")
