"""A safetensors file with a model card: the weights alone, for a model that segkit builds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from segkit.errors import InputError
from segkit.models.card import ModelCard
from segkit.models.safetensors_file import read_metadata, read_safetensors
from segkit.models.tensors import ArrayPrediction, Floats
from segkit.models.unet import UNet
from segkit.runtimes.exported import CARD_KEY, DAMAGED, Arrays, ExportedModel, card_in


def model_of(path: Path) -> tuple[nn.Module, ModelCard]:
    """The model with the weights of a file, in evaluation mode, in fp32, and its card.

    Raises:
        InputError: It is no safetensors file, or segkit did not export it.
    """
    try:
        metadata, state = read_metadata(path), read_safetensors(path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a safetensors file, or a damaged one", DAMAGED) from error
    card = card_in(metadata.get(CARD_KEY), path)
    try:
        module = card.build()
        module.load_state_dict(state)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its tensors are not those of its model card", "was it edited?") from error
    return module.eval(), card


class WeightsModel(ExportedModel):
    """The model of a safetensors file.

    Attributes:
        module: The model itself, which runs on every device.
    """

    module: nn.Module

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            InputError: It is no safetensors file, or segkit did not export it.
        """
        self.path = path
        self.module, self.card = model_of(path)

    def run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """There is no graph to run: the model itself predicts."""
        raise NotImplementedError

    @torch.inference_mode()
    def maps(self, images: Sequence[Any]) -> list[Floats]:
        """Of a U-Net, what it predicts of every pixel."""
        assert isinstance(self.module, UNet)
        return [each.numpy() for each in self.module.maps([torch.as_tensor(image) for image in images])]

    @torch.inference_mode()
    def __call__(self, images: Sequence[Any]) -> list[ArrayPrediction]:
        """Predictions of images."""
        found = self.module([torch.as_tensor(image) for image in images])
        return [{name: _plain(value) for name, value in each.items()} for each in found]  # type: ignore[misc]  # by the names of a prediction


def _plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value
