"""Weights of an RF-DETR-Seg in the form of transformers: a name on the Hugging Face hub, or a folder from there."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from segkit.errors import InputError
from segkit.models.layer_names import State
from segkit.models.rfdetr import RFDETR
from segkit.models.rfdetr_settings import VARIANTS, RFDETRSettings, settings_of, transformers
from segkit.models.weight_files import WeightFile, read_weight_file

LICENCE = "Apache License 2.0"
"""Of the published weights: nano, small and medium."""

_TYPE = "rf_detr"
_WHAT = "name a run of an rfdetr, a folder with config.json, or a name on the hub such as Roboflow/rf-detr-seg-nano"
_HUB = "https://huggingface.co"
_NEVER = -4.6  # a logit: the probability is 0.01, as where such a layer starts


def published(settings: RFDETRSettings) -> str | None:
    """The name on the hub of the weights that were published for a network; None where there are none."""
    name = next((name for name, each in VARIANTS.items() if each == settings), None)
    return name and f"Roboflow/rf-detr-seg-{name}"


def read_for_rfdetr(weights: str, *, whole: bool = False) -> WeightFile:
    """What ``--weights`` of an RF-DETR holds: a checkpoint of segkit, a folder, or a name on the hub.

    Args:
        weights: The option.
        whole: Read its tensors, too, and check them.

    Raises:
        InputError: It is none of them, or cannot be had.
    """
    path = Path(weights)
    if path.is_dir() or (not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", weights)):
        return _in_form_of_transformers(weights, whole)
    try:
        found = read_weight_file(path, check=whole)
    except InputError as error:
        raise InputError(error.message, _WHAT) from error
    if found.rfdetr is None:
        raise InputError(
            f"{weights}: holds a {found.model or found.backbone}, not an rfdetr",
            _WHAT,
        )
    return found


def _in_form_of_transformers(weights: str, whole: bool) -> WeightFile:
    package = transformers(f"--weights {weights}")
    with _quiet(package), _errors_of(weights):
        plain, _ = package.RfDetrConfig.get_config_dict(weights)
        if plain.get("model_type") != _TYPE:
            raise InputError(
                f"{weights}: is a {plain.get('model_type')}, not an {_TYPE}", "such as Roboflow/rf-detr-seg-nano"
            )
        config = package.RfDetrConfig.from_pretrained(weights)
        settings = settings_of(config, weights)
        state = _tensors(package, weights, settings) if whole else {}
    prefix = f"{RFDETR.body_name}."
    return WeightFile(
        body={name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)},
        others={name: value for name, value in state.items() if not name.startswith(prefix)},
        backbone="dinov2",
        norm="frozen",
        model="rfdetr",
        categories=tuple(str(config.id2label[label]) for label in range(config.num_labels)),
        rfdetr=settings,
    )


def _tensors(package: Any, weights: str, settings: RFDETRSettings) -> State:
    """The tensors by segkit's names, those that are there; layers of labels get a row for background, as in segkit."""
    model, info = package.RfDetrForInstanceSegmentation.from_pretrained(
        weights, use_safetensors=True, output_loading_info=True, dtype=torch.float32
    )
    missing = set(info["missing_keys"])
    state = {f"network.{name}": value for name, value in model.state_dict().items() if name not in missing}
    if not all(bool(value.isfinite().all()) for value in state.values() if value.is_floating_point()):
        raise InputError(f"{weights}: has weights that are not finite")
    places = ["class_embed", *(f"model.enc_out_class_embed.{group}" for group in range(settings.group_detr))]
    for place in places:
        for name, fill in (("weight", 0.0), ("bias", _NEVER)):
            rows = state.get(f"network.model.{place}.{name}")
            if rows is not None:
                state[f"network.model.{place}.{name}"] = torch.cat([torch.full_like(rows[:1], fill), rows])
    return state


@contextmanager
def _errors_of(weights: str) -> Iterator[None]:
    """Raise what transformers raises as an error of segkit.

    Raises:
        InputError: The weights cannot be had.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of half a dozen packages
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if Path(weights).is_dir():
            raise InputError(
                f"{weights}: not a folder of an RF-DETR-Seg: {why}", "it needs config.json and model.safetensors"
            ) from error
        raise InputError(
            f"{weights}: the weights cannot be had: {why}",
            f"fetch config.json and model.safetensors from {_HUB}/{weights} on another machine and name their folder: "
            "--weights DIR; or start from random weights: --weights none",
        ) from error


@contextmanager
def _quiet(package: Any) -> Iterator[None]:
    """Silence transformers' bars and messages: what is missing is said by segkit."""
    own, hub = package.utils.logging, logging.getLogger("huggingface_hub")
    level, level_of_hub, bars = own.get_verbosity(), hub.level, own.is_progress_bar_enabled()
    own.set_verbosity(logging.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    own.disable_progress_bar()
    try:
        yield
    finally:
        own.set_verbosity(level)
        hub.setLevel(level_of_hub)
        if bars:
            own.enable_progress_bar()
