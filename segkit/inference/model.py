"""A trained model as ``predict`` and ``eval`` use it: from a run, a checkpoint, or an exported file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segkit.export.onnx_model import OnnxModel
from segkit.models.card import ModelCard
from segkit.models.tensors import Prediction
from segkit.runs.checkpoint import find_checkpoint, load_model


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Something that predicts, and what it is.

    Attributes:
        path: The file it came from.
        predict: Maps images (uint8 [3, H, W], on ``device``) to predictions.
        card: Categories, framing, architecture.
        device: Where it computes.
    """

    path: Path
    predict: Callable[[Sequence[Tensor]], list[Prediction]]
    card: ModelCard
    device: torch.device


def load(model: Path | None, device: torch.device) -> LoadedModel:
    """Load what MODEL means; None is the latest run.

    Raises:
        InputError: There is no such model, or the file is none.
    """
    path = find_checkpoint(model)
    if path.suffix == ".onnx":
        exported = OnnxModel(path)
        return LoadedModel(path, exported, exported.card, torch.device("cpu"))
    module, card = load_model(path, device)
    return LoadedModel(path, module, card, device)
