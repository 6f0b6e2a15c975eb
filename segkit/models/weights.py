"""Pretrained weights: which exist, where they come from, and how they are loaded."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights, MaskRCNN_ResNet50_FPN_Weights

from segkit.choices import BackboneName, ModelName
from segkit.errors import ConfigError, InputError
from segkit.models.adapt import body_name

_COCO = {
    "maskrcnn": MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    "fasterrcnn": FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
}


def best_weights(model: ModelName, backbone: BackboneName) -> str:
    """The best pretrained weights that exist for a model."""
    return "coco" if model in _COCO and backbone == "resnet50" else "imagenet"


def load_weights(module: nn.Module, weights: str, model: ModelName, backbone: BackboneName) -> str:
    """Load weights into a new model, as far as they fit.

    Args:
        module: The model.
        weights: ``coco``, ``imagenet``, ``none``, or a file: a segkit checkpoint or a plain state dict.
        model: Its architecture.
        backbone: Its feature extractor.

    Returns:
        A sentence on what was loaded.

    Raises:
        ConfigError: There are no such weights.
        InputError: They cannot be downloaded or read, or fit nowhere.
    """
    match weights:
        case "none":
            return "random weights"
        case "coco":
            if model not in _COCO or backbone != "resnet50":
                raise ConfigError(
                    f"--weights coco: there are none for {model} with {backbone}",
                    "use --weights imagenet, or --backbone resnet50",
                )
            return _load(module, _download(_COCO[model]), "COCO weights")
        case "imagenet":
            enum = torchvision.models.get_model_weights(backbone)
            state = _download(enum.IMAGENET1K_V1)
            prefix = body_name(module)
            renamed = {f"{prefix}.{name.removeprefix('features.')}": value for name, value in state.items()}
            return _load(module, renamed, f"ImageNet weights of {backbone}")
        case _:
            return _load(module, read_state(Path(weights)), str(weights))


def _download(entry: Any) -> dict[str, torch.Tensor]:
    try:
        state: dict[str, torch.Tensor] = entry.get_state_dict(progress=False, check_hash=True)
        return state
    except (URLError, OSError, RuntimeError) as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the weights cannot be downloaded: {reason}",
            f"fetch {entry.url} on another machine and put it at {cache}, or start from random weights: --weights none",
        ) from error


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file: that of a segkit checkpoint, or of the file itself.

    Raises:
        InputError: It holds none.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "known names are coco, imagenet and none") from None
    except Exception as error:  # torch raises a dozen kinds for a file that is not its own
        raise InputError(f"{path}: not a file of weights that can be read safely") from error
    state = content.get("model", content) if isinstance(content, dict) else None
    if not (isinstance(state, dict) and state and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise InputError(f"{path}: holds no state dict")
    return state


def _load(module: nn.Module, state: dict[str, torch.Tensor], what: str) -> str:
    """Load tensors of the right name and shape; heads for other categories stay random."""
    own = module.state_dict()
    fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not fits:
        raise InputError(f"{what}: nothing in it fits the model", "are --model and --backbone those it was made with?")
    module.load_state_dict(fits, strict=False)
    other = [name for name in own if name not in fits and not name.endswith("num_batches_tracked")]
    return f"{what} ({len(fits)} tensors; {len(other)} start at random)"
