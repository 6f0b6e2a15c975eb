"""A model that PyTorch computes, from a checkpoint or a safetensors file."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from segkit.inference.batches import Predict
from segkit.models.card import ModelCard
from segkit.models.condinst import CondInst
from segkit.models.detector import Detector
from segkit.models.on_cpu import prepare
from segkit.models.solov2 import SOLOv2
from segkit.models.unet import UNet
from segkit.runs.checkpoint import load_checkpoint, model_in
from segkit.runtime.device import keep_within, resolve_device
from segkit.runtimes.files import format_of
from segkit.runtimes.weights_file import model_of

_OWN = (Detector, CondInst, SOLOv2, UNet)  # and what is made of them; not RF-DETR, whose layers are transformers'


class TorchModel(NamedTuple):
    """A model on its device; see ``LoadedModel``."""

    module: nn.Module
    card: ModelCard
    device: torch.device
    step: int | None
    maps: Predict | None
    notes: tuple[str, ...]


def load_torch_model(path: Path, device: torch.device | str, vram: int | None = None) -> TorchModel:
    """Load a checkpoint or a safetensors file.

    Args:
        path: The file.
        device: Where it is to compute, or its name.
        vram: Bytes of a GPU's memory that it may use, from now on; None: all that is free.

    Raises:
        ConfigError: ``vram`` is too little.
        InputError: It cannot be read.
        DeviceError: There is no such device.
    """
    where, step = resolve_device(device) if isinstance(device, str) else device, None
    warning = keep_within(where, vram)
    if format_of(path) == "safetensors":
        module, card = model_of(path)
        module = module.to(where)
    else:
        content = load_checkpoint(path, where)
        module, card = model_in(content, path, where)
        step = content.get("step")
    if where.type == "cpu" and isinstance(module, _OWN) and not card.quantised:
        prepare(module)
    maps = module.maps if isinstance(module, UNet) else None
    return TorchModel(module, card, where, step, maps, () if warning is None else (warning,))
