"""An exported file as a model that predicts, run by ONNX Runtime."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from segkit.errors import InputError
from segkit.models.card import ModelCard, read_card
from segkit.models.tensors import Prediction
from segkit.models.unet import split_instances

CARD_KEY = "segkit"


def output_names(card: ModelCard) -> list[str]:
    """The outputs of an exported file, in their order."""
    if card.framing.kind == "semantic":
        return ["probabilities", *(["distances"] if card.unet.instances == "distance" else [])]
    return ["boxes", "labels", "scores", *(["masks"] if card.model == "maskrcnn" else [])]


class OnnxModel:
    """A model in evaluation mode, on the CPU: images in, a list of ``Prediction`` out."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            InputError: It is not an ONNX file, or segkit did not export it.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions derive from nothing useful
            raise InputError(f"{path}: not an ONNX file that can be run") from error
        card = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        if card is None:
            raise InputError(f"{path}: was not exported by segkit", "it lacks its categories and preprocessing")
        try:
            plain = json.loads(card)
        except (ValueError, RecursionError):
            plain = None
        self.card = read_card(plain, path)
        self._outputs = [output.name for output in self._session.get_outputs()]
        inputs = [each.name for each in self._session.get_inputs()]
        if inputs != ["image"] or set(self._outputs) != set(output_names(self.card)):
            raise InputError(f"{path}: its graph is not that of its model card", "export it again")

    def __call__(self, images: Sequence[Tensor]) -> list[Prediction]:
        """Predictions of images (uint8 [3, H, W] each), one at a time."""
        return [self._predict(image) for image in images]

    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """What the graph gives for an image (uint8 [3, H, W]), by the names of its outputs."""
        values: list[Any] = self._session.run(None, {"image": np.ascontiguousarray(image.cpu().numpy())})
        return {name: torch.from_numpy(value) for name, value in zip(self._outputs, values, strict=True)}

    def maps(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Of a U-Net: what it predicts of every pixel, float [M, H, W] for each image (``segkit.models.unet``)."""
        return [_maps_in(self.outputs(image)) for image in images]

    def _predict(self, image: Tensor) -> Prediction:
        named = self.outputs(image)
        if "probabilities" in named:
            return split_instances(_maps_in(named), self.card.unet.instances)
        return cast(Prediction, named)  # boxes, labels, scores and masks, by their names


def _maps_in(named: dict[str, Tensor]) -> Tensor:
    if "distances" not in named:
        return named["probabilities"]
    return torch.cat([named["probabilities"], named["distances"][None]])
