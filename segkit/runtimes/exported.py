"""An exported file as a model that predicts, whichever runtime runs it: arrays in, arrays out, without PyTorch."""

import json
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from segkit.choices import ARCHITECTURES
from segkit.errors import InputError, SegkitError
from segkit.models.card import ModelCard, read_card
from segkit.models.label_instances import instances_in_maps
from segkit.models.tensors import ArrayPrediction, Floats
from segkit.runtime.memory_errors import is_out_of_memory

Arrays = dict[str, npt.NDArray[Any]]

CARD_KEY, ABOUT_KEY = "segkit", "segkit_export"
"""The keys of a file's metadata: the model card, and what else is to be known of the file."""

DAMAGED = "was it copied to its end? export it again"
BAD_ARCHIVE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading from a zip archive raises that is damaged, encrypted or none."""

_OF_IMAGES = ("classes",)  # outputs beside those of instances that have a row for each image


def output_names(card: ModelCard) -> list[str]:
    """The outputs of an exported file, in their order, without the one that says which image an instance is in."""
    if card.framing.kind == "semantic":
        return ["probabilities", *(["distances"] if card.unet.instances == "distance" else [])]
    kind = ARCHITECTURES[card.model]
    more = [name for name, there in (("masks", kind.masks), ("classes", kind.stuff)) if there]
    return ["boxes", "labels", "scores", *more]


def card_in(text: str | None, path: Path) -> ModelCard:
    """The model card in a file's metadata.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    if text is None:
        raise InputError(f"{path}: was not exported by segkit", "it lacks its categories and preprocessing")
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        plain = None
    return read_card(plain, path)


def about_in(text: str | None, path: Path) -> dict[str, Any]:
    """What a file's metadata say of its inputs and outputs.

    Raises:
        InputError: Nothing that can be used.
    """
    try:
        about = json.loads(text or "")
        outputs, given = about["outputs"], about["input"]
    except (ValueError, RecursionError, TypeError, KeyError):
        outputs, given = None, None
    if given not in ("images", "image") or not isinstance(outputs, list) or not outputs:
        raise InputError(f"{path}: its metadata do not say what its graph takes and gives", "export it again")
    return about  # type: ignore[no-any-return]  # JSON, checked above


class ExportedModel(ABC):
    """A model in evaluation mode: images in, a list of ``ArrayPrediction`` out, on the CPU.

    Attributes:
        path: The file.
        card: The model card.
        takes_batches: Whether several images of one size go through it at once.
        size: Height and width of the only images that it takes; None: of any.
        notes: What is to be said of the runtime.
    """

    path: Path
    card: ModelCard
    takes_batches = True
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """What the graph gives, by the names of its outputs.

        Args:
            images: uint8 [B, C, H, W]; a single image where it takes no batches.
        """

    def outputs(self, images: Sequence[Any]) -> list[Arrays]:
        """The same for each image; those of one size go together.

        Args:
            images: uint8 [C, H, W] each, of any sizes: arrays, or tensors on the CPU.
        """
        given = [np.asarray(image) for image in images]
        found: list[Arrays] = [{} for _ in given]
        groups: dict[Any, list[int]] = {}
        for place, image in enumerate(given):
            groups.setdefault(image.shape if self.takes_batches else place, []).append(place)
        for places in groups.values():
            named = self._run(np.stack([given[place] for place in places]))
            for number, place in enumerate(places):
                found[place] = _of_image(named, number)
        return found

    def _run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """``run``, with an error of the runtime in words.

        Raises:
            InputError: The runtime cannot run the graph on these images.
        """
        try:
            named = self.run(images)
        except Exception as error:  # each runtime has its own
            if isinstance(error, SegkitError) or is_out_of_memory(error):
                raise
            why = str(error).partition("\n")[0]
            size = "x".join(map(str, images.shape))
            what = f"its graph cannot be run on an input of {size}: {why}"
            raise InputError(f"{self.path}: {what}", "export it again") from error
        if not self._fits_card(named):
            raise InputError(f"{self.path}: its graph is not that of its model card", "export it again")
        return named

    def _fits_card(self, named: Arrays) -> bool:
        """Whether the outputs have the labels of the categories and no others, and instances as many of everything."""
        count = len(self.card.categories)
        if "probabilities" in named:
            return named["probabilities"].ndim == 4 and named["probabilities"].shape[1] == count + 1
        labels = named["labels"]
        alike = all(len(value) == len(labels) for name, value in named.items() if name not in _OF_IMAGES)
        return alike and bool(((labels >= 1) & (labels <= count)).all())

    def __call__(self, images: Sequence[Any]) -> list[ArrayPrediction]:
        """Predictions of images (uint8 [C, H, W] each)."""
        if self.card.framing.kind == "semantic":
            return [instances_in_maps(each, self.card.unet.instances) for each in self.maps(images)]
        return cast(list[ArrayPrediction], self.outputs(images))  # boxes, labels, scores and masks, by their names

    def maps(self, images: Sequence[Any]) -> list[Floats]:
        """Of a U-Net: what it predicts of every pixel, float [M, H, W] for each image (``segkit.models.unet``)."""
        return [_maps_in(each) for each in self.outputs(images)]


def _maps_in(named: Arrays) -> Floats:
    if "distances" not in named:
        return named["probabilities"]
    return np.concatenate([named["probabilities"], named["distances"][None]])


def _of_image(named: Arrays, number: int) -> Arrays:
    """The outputs for one image of a batch."""
    if "images_of" in named:
        here = named["images_of"] == number
        own = {name: value for name, value in named.items() if name != "images_of"}
        return {name: value[number] if name in _OF_IMAGES else value[here] for name, value in own.items()}
    if "boxes" in named:  # of a graph for a single image
        return named
    return {name: value[number] for name, value in named.items()}
