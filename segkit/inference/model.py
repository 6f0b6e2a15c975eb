"""A trained model as ``predict`` and ``eval`` use it: from a run, a checkpoint, or an exported file.

ONNX, OpenVINO and LiteRT files predict without PyTorch, which is not loaded for them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.errors import ConfigError, InputError
from segkit.inference.batches import BatchPredictor, Predict
from segkit.models.card import ModelCard
from segkit.progress import Progress
from segkit.runs.find import find_checkpoint
from segkit.runtime.device_names import NO_GPU, check_device_name
from segkit.runtimes.exported import ExportedModel
from segkit.runtimes.files import WITHOUT_TORCH, format_of, open_exported

if TYPE_CHECKING:
    import torch

Maps = Callable[[Sequence[Any]], list[Any]]

_HINT = "leave --vram out, or predict with the run or the checkpoint that it was made from"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that predicts, and its model card.

    Attributes:
        path: The file it came from.
        predict: Maps images (uint8 [C, H, W], on ``device``) to predictions.
        card: Categories, framing, architecture.
        device: Where PyTorch computes it; None: it takes arrays, and gives arrays.
        step: After how many steps of training; None where the file does not say.
        maps: Of a U-Net: maps images to what it predicts of every pixel, float [M, H, W] (``segkit.models.unet``).
        notes: What is to be said of where it computes.
    """

    path: Path
    predict: Predict
    card: ModelCard
    device: "torch.device | None"
    step: int | None = None
    maps: Maps | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether it is the graph of an exported file, which cannot be changed."""
        return isinstance(self.predict, ExportedModel)

    def in_batches(self, batch: int, progress: Progress, activity: str) -> BatchPredictor:
        """The model's predictions of many images.

        Args:
            batch: Images at once.
            progress: Shows when memory allows fewer.
            activity: What messages call the work.
        """
        return BatchPredictor(self.predict, self.device, batch, progress, activity)


def needs_torch(model: Path | None) -> bool:
    """Whether what MODEL means predicts with PyTorch; where there is no such model, it is said later."""
    try:
        return format_of(find_checkpoint(model)) not in WITHOUT_TORCH
    except InputError:
        return True


def load(
    model: Path | None, device: "torch.device | str", *, trust: bool = False, vram: int | None = None
) -> LoadedModel:
    """Load what MODEL means; None is the latest run.

    Args:
        model: A run, a checkpoint, or an exported file.
        device: Where it computes, or what ``--device`` says; exported files may compute on the CPU only, which
            ``notes`` say.
        trust: Whether the maker of a file is trusted that is a program.
        vram: Bytes of a GPU's memory that it may use; None: all that is free.

    Raises:
        InputError: There is no such model, or the file is none.
        ConfigError: ``vram`` is too little, or the file is run by a library that it does not limit.
    """
    path = find_checkpoint(model)
    kind, name = format_of(path), str(device)
    check_device_name(name)
    if kind is None or kind == "safetensors":  # on every device
        from segkit.inference.torch_model import load_torch_model  # noqa: PLC0415 -- files need no PyTorch

        module, card, where, step, maps, warnings = load_torch_model(path, device, vram)
        return LoadedModel(path, module, card, where, step, maps, warnings)
    if vram is not None and name.startswith("cuda"):
        raise ConfigError(f"--vram: {path.name} is run by a library of its own, which --vram does not limit", _HINT)
    exported = open_exported(path, name, trust=trust)
    maps = exported.maps if exported.card.framing.kind == "semantic" else None
    notes = exported.notes if vram is None else (*exported.notes, NO_GPU)
    if name.startswith("cuda") and kind not in ("onnx", "tensorrt"):
        notes = (*notes, f"warning: {path.name} runs on the CPU, as files of its format do in segkit")
    return LoadedModel(path, exported, exported.card, None, maps=maps, notes=notes)
