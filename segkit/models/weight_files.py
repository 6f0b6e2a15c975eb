"""Files of weights: read without running code, unwrapped, and recognised by the tensors that are in them."""

import zipfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from segkit.choices import ARCHITECTURES, BackboneName, HeadsName, ModelName, NormName
from segkit.errors import InputError
from segkit.models.backbones import EPS, make_body
from segkit.models.card import ModelCard, read_card
from segkit.models.detector_settings import DetectorSettings
from segkit.models.layer_names import (
    State,
    from_detectron2,
    from_mmdetection,
    from_old_torchvision,
    heads_of,
    in_order,
    is_detectron2,
    is_mmdetection,
    is_published,
    is_timm,
    without_wrappers,
)
from segkit.models.rfdetr import RFDETR
from segkit.models.rfdetr_settings import RFDETRSettings
from segkit.models.safetensors_file import read_safetensors
from segkit.models.sizes import DEFAULT_EPS, Width

_PLACES = ("model", "state_dict", "model_state_dict", "model_state", "module", "net")  # of the state dict in a file
_DEEPEST = 4  # dicts inside each other; a file may hold a dict that holds itself
_BODIES = ("backbone.body.", "body.", "backbone.", "encoder.", "features.", "")  # what body tensors begin with

_DETECTRON2 = (
    "detectron2's names; where its models stride and align regions otherwise (STRIDE_IN_1X1, ROIAlignV2), features are "
    "near those of detectron2, not equal"
)
_NAMES: tuple[BackboneName, ...] = tuple(name for name in get_args(BackboneName) if name != "dinov2")
"""The feature extractors that can be recognised by their tensors."""

_FIRST = {"plain": "level1.0.weight"} | {f"resnet{depth}": "conv1.weight" for depth in (18, 34, 50, 101)}
_FIRST_OF_OTHERS, _FIRST_OF_LITE = "0.0.weight", "_conv_stem.weight"


@dataclass(frozen=True, slots=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        body: The tensors of the feature extractor, by their names in it.
        others: All other tensors, by segkit's names.
        backbone: The feature extractor.
        norm: The norms that the weights were made with; ``batch`` stands for all that have statistics.
        model: The architecture, where the file is segkit's.
        categories: Names by label from 1, where they are known.
        settings: What a detector was made with: its anchors, its pyramid.
        heads: The version of a detector's pyramid and heads.
        head_norm: The norms in them, as ``norm``.
        norm_eps: What the norms of the feature extractor added to variances.
        widths: The layers that were pruned.
        rfdetr: What an RF-DETR was made with.
        sparse: Whether weights are zero that are to stay so.
        notes: What was unwrapped or renamed.
    """

    body: State
    others: State
    backbone: BackboneName
    norm: NormName
    model: ModelName | None = None
    categories: tuple[str, ...] = ()
    settings: DetectorSettings | None = None
    heads: HeadsName | None = None
    head_norm: NormName | None = None
    norm_eps: float = DEFAULT_EPS
    widths: tuple[Width, ...] = ()
    rfdetr: RFDETRSettings | None = None
    sparse: bool = False
    notes: tuple[str, ...] = field(default=())


def read_weight_file(path: Path, *, check: bool = False) -> WeightFile:
    """Read a file of weights.

    Args:
        path: A checkpoint of segkit, a state dict of torch, or safetensors.
        check: Check checksums and that all values are finite.

    Raises:
        InputError: It cannot be read without running code, is damaged, or holds no feature extractor that is known.
    """
    content, published = _read(path, check), False
    state, notes = _state_dict(content, path)
    card = _card(content, path)
    if card is not None:
        notes = []
    else:
        state, removed = without_wrappers(state)
        notes += [f"without {each}" for each in removed]
        published = is_published(state)
        if is_detectron2(state):
            state = from_detectron2(state)
            notes.append(_DETECTRON2)
        elif is_mmdetection(state):
            state = from_mmdetection(state)
            notes.append("mmdetection's names")
        elif is_timm(state) and (renamed := _from_timm(state)) is not None:
            state = renamed
            notes.append("timm's names")
        state = from_old_torchvision(state)
    if check and not all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point()):
        raise InputError(f"{path}: has weights that are not finite", "use an earlier checkpoint")
    return recognise(state, str(path), card, notes, published=published)


def recognise(
    state: State,
    what: str,
    card: ModelCard | None = None,
    notes: list[str] | None = None,
    *,
    published: bool = False,
) -> WeightFile:
    """What a state dict holds.

    Args:
        state: Tensors by name.
        what: Where they come from, for errors.
        card: The model card that came with them.
        notes: What was unwrapped or renamed.
        published: Whether they are torchvision's own of a detector of the first version.

    Raises:
        InputError: It has no feature extractor that is known.
    """
    if card is not None and card.quantised:
        raise InputError(
            f"{what}: its layers compute as in 8 bits, without norms", "start from the run that it came from"
        )
    if card is not None and ARCHITECTURES[card.model].queries:
        return _of_transformer(state, card, notes or [])
    for prefix in _BODIES:
        body = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        # By its shapes a pruned one would not be known.
        backbone = card.backbone if card is not None and card.widths and prefix and body else _backbone_of(body)
        if backbone is None:
            continue
        others = {name: value for name, value in state.items() if prefix and not name.startswith(prefix)}
        is_detector = any(name.startswith("rpn.") for name in others)
        settings = card.settings if card is not None else DetectorSettings()
        return WeightFile(
            body,
            others,
            backbone,
            _norm_of(card, body),
            card.model if card is not None else None,
            tuple(category.name for category in card.categories) if card is not None else (),
            settings if is_detector else None,
            heads_of(state) if is_detector else None,
            _head_norm_of(card, state) if is_detector else None,
            _eps_of(card, backbone, is_detector=is_detector, published=published),
            card.widths if card is not None else (),
            sparse=card is not None and card.sparse,
            notes=tuple(notes or ()),
        )
    raise InputError(
        f"{what}: holds no feature extractor that is known, or only a part of one",
        f"known are {', '.join(_NAMES)}",
    )


def _of_transformer(state: State, card: ModelCard, notes: list[str]) -> WeightFile:
    """What the checkpoint of an RF-DETR holds."""
    prefix = f"{RFDETR.body_name}."
    return WeightFile(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)},
        {name: value for name, value in state.items() if not name.startswith(prefix)},
        card.backbone,
        card.norm,
        card.model,
        tuple(category.name for category in card.categories),
        rfdetr=card.rfdetr,
        sparse=card.sparse,
        notes=tuple(notes),
    )


def _norm_of(card: ModelCard | None, body: State) -> NormName:
    if card is not None:
        return card.norm
    with_layer_norms = any(name.endswith("layer_scale") for name in body)  # a ConvNeXt has no others
    return "batch" if with_layer_norms or any(name.endswith("running_mean") for name in body) else "group"


def _head_norm_of(card: ModelCard | None, state: State) -> NormName | None:
    if card is not None:
        return card.settings.head_norm
    if heads_of(state) == "v1":
        return None
    return "batch" if "backbone.fpn.inner_blocks.0.1.running_mean" in state else "group"


def _eps_of(card: ModelCard | None, backbone: BackboneName, *, is_detector: bool, published: bool) -> float:
    """What the norms that the weights were made with added to variances."""
    if card is not None:
        return card.norm_eps
    if is_detector:
        return 0.0 if published else DEFAULT_EPS
    return EPS.get(backbone, DEFAULT_EPS)


def _backbone_of(body: State) -> BackboneName | None:
    """The feature extractor all of whose convolutions are there; of several the deepest."""
    fits = [
        name
        for name in _NAMES
        if _FIRST.get(name.partition("_")[0], _FIRST_OF_OTHERS) in body or _FIRST_OF_LITE in body
        if all(layer in body and _same(body[layer].shape, shape) for layer, shape in _convolutions(name).items())
    ]
    return max(fits, key=lambda name: len(_convolutions(name)), default=None)


def _same(found: torch.Size, shape: torch.Size) -> bool:
    """Whether a convolution has a shape; the first one, of three channels, may have others."""
    return found == shape or (shape[1] == 3 and found[:1] + found[2:] == shape[:1] + shape[2:])


def _convolutions(name: BackboneName) -> dict[str, torch.Size]:
    """The shapes of the convolutions of a feature extractor, by name."""
    return {layer: shape for layer, shape in _shapes(name).items() if len(shape) == 4}


@cache
def _shapes(name: BackboneName) -> dict[str, torch.Size]:
    """The shapes of the tensors of a feature extractor, by name, in order."""
    with torch.device("meta"):
        body, _ = make_body(name, "batch")
    return {layer: value.shape for layer, value in body.state_dict().items()}


def _from_timm(state: State) -> State | None:
    """Tensors of timm's under the names of the deepest feature extractor with the same in this order."""
    fits = [(name, found) for name in _NAMES if (found := in_order(state, _shapes(name))) is not None]
    return max(fits, key=lambda fit: len(fit[1]), default=(None, None))[1]


def _read(path: Path, check: bool) -> Any:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a file of weights", "of a run, name a file: best.pt or last.pt")
    if path.exists() and not path.is_file():  # a named pipe would be waited for, a device read without end
        raise InputError(f"{path}: not a regular file", "save its content into a file, and name that")
    try:
        if path.suffix.lower() == ".safetensors":
            return read_safetensors(path)
        if check and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise InputError(f"{path}: damaged: the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=not check and zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "known names are coco, imagenet and none") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it") from None
    except InputError:
        raise
    except Exception as error:  # torch raises a dozen kinds for a file that is not its own
        raise InputError(
            f"{path}: not a file of weights that can be read safely",
            "a pickle may run code when it is read: save the state dict alone, torch.save(model.state_dict(), FILE)",
        ) from error


def _state_dict(content: Any, path: Path) -> tuple[State, list[str]]:
    """The tensors of a file, and the keys that they were under.

    Raises:
        InputError: There are none.
    """
    notes: list[str] = []
    for depth in range(_DEEPEST, 0, -1):
        inner = content if isinstance(content, dict) else {}
        place = next((p for p in _PLACES if _holds_some(inner.get(p), depth)), None)
        if place is None:
            break
        content = inner[place]
        notes.append(f"under {place}")
    state = _tensors(content)
    if not state:
        raise InputError(f"{path}: holds no state dict")
    return state, notes


def _holds_some(value: Any, depth: int) -> bool:
    """Whether a dict holds tensors, or does so in one of at most ``depth`` dicts inside each other."""
    if depth == 0 or not isinstance(value, dict):
        return False
    return bool(_tensors(value)) or any(_holds_some(value.get(p), depth - 1) for p in _PLACES)


def _tensors(content: Any) -> State:
    if not isinstance(content, dict):
        return {}
    return {name: _computable(value) for name, value in content.items() if isinstance(name, str) and _is_dense(value)}


def _is_dense(value: Any) -> bool:
    """Whether a value is a tensor of real numbers that are all there."""
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return False
    return not (value.is_meta or value.is_complex() or value.is_quantized)


def _computable(value: Tensor) -> Tensor:
    """A tensor in a type that torch computes with: types of a byte are for storage only."""
    return value.float() if value.is_floating_point() and value.itemsize == 1 else value


def _card(content: Any, path: Path) -> ModelCard | None:
    """The model card of a checkpoint of segkit.

    Raises:
        InputError: It is damaged.
    """
    if not (isinstance(content, dict) and isinstance(content.get("card"), dict)):
        return None
    return read_card(content["card"], path)
