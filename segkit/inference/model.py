"""A trained model as ``predict`` and ``eval`` use it: from a run, a checkpoint, or an exported file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segkit.inference.batches import BatchPredictor, Predict
from segkit.models.card import ModelCard
from segkit.models.unet import UNet
from segkit.progress import Progress
from segkit.runs.checkpoint import find_checkpoint, load_checkpoint, model_in
from segkit.runtimes.files import format_of, open_exported
from segkit.runtimes.weights_file import model_of


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that predicts, and its model card.

    Attributes:
        path: The file it came from.
        predict: Maps images (uint8 [3, H, W], on ``device``) to predictions.
        card: Categories, framing, architecture.
        device: Where it computes.
        step: After how many steps of training; None where the file does not say.
        maps: Of a U-Net: maps images to what it predicts of every pixel, float [M, H, W] (``segkit.models.unet``).
        notes: What is to be said of where it computes.
    """

    path: Path
    predict: Predict
    card: ModelCard
    device: torch.device
    step: int | None = None
    maps: Callable[[Sequence[Tensor]], list[Tensor]] | None = None
    notes: tuple[str, ...] = ()

    def in_batches(self, batch: int, progress: Progress, activity: str) -> BatchPredictor:
        """The model's predictions of many images.

        Args:
            batch: Images at once.
            progress: Shows when memory allows fewer.
            activity: What messages call the work.
        """
        return BatchPredictor(self.predict, self.device, batch, progress, activity)


def load(model: Path | None, device: torch.device, *, trust: bool = False) -> LoadedModel:
    """Load what MODEL means; None is the latest run.

    Args:
        model: A run, a checkpoint, or an exported file.
        device: Where it computes; exported files may compute on the CPU only, which ``notes`` say.
        trust: Whether the maker of a file is trusted that is a program.

    Raises:
        InputError: There is no such model, or the file is none.
    """
    path = find_checkpoint(model)
    if format_of(path) is not None:
        return _load_exported(path, device, trust=trust)
    content = load_checkpoint(path, device)
    module, card = model_in(content, path, device)
    maps = module.maps if isinstance(module, UNet) else None
    return LoadedModel(path, module, card, device, content.get("step"), maps)


def _load_exported(path: Path, device: torch.device, *, trust: bool) -> LoadedModel:
    if format_of(path) == "safetensors":  # as a checkpoint: on every device
        module, card = model_of(path)
        maps = module.maps if isinstance(module, UNet) else None
        return LoadedModel(path, module.to(device), card, device, maps=maps)
    exported = open_exported(path, str(device), trust=trust)
    maps = exported.maps if exported.card.framing.kind == "semantic" else None
    notes = exported.notes
    if device.type == "cuda" and format_of(path) != "onnx":
        notes = (*notes, f"warning: {path.name} runs on the CPU, as files of its format do in segkit")
    return LoadedModel(path, exported, exported.card, torch.device("cpu"), maps=maps, notes=notes)
