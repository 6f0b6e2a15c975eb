"""``segkit train --qat RUN``: a short run that goes on from a trained one, with layers that compute as in 8 bits."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from segkit.config.fields import flag_of, load_config, options_of
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError
from segkit.loading.calibration import calibration_images
from segkit.models.card import ModelCard
from segkit.models.quantised import measure_ranges, quantise_layers
from segkit.runs.checkpoint import load_checkpoint, load_model
from segkit.runs.find import find_checkpoint
from segkit.runs.folder import CONFIG, find_run
from segkit.training.run_options import DEVICES, LIMITS, MAY_CHANGE

_MODELS = ("unet", "maskrcnn", "fasterrcnn")
_PART, _RATE = 10, 0.1  # of the run's steps, and of its learning rate
_OWN = {
    "dataset", "name", "out", "seed", "lr", "warmup", "schedule", "lr_steps", "lr_gamma", "optimizer", "weight_decay",
    "momentum", "clip_grad", "ema", "batch", "precision", "augment", "eval_every", "deterministic", "channels_last",
}  # fmt: skip


def config_for_8_bits(config: TrainConfig) -> TrainConfig:
    """The options of the run that ``config.qat`` names, for a short run from its weights.

    By default it has a tenth of the steps and of the learning rate.

    Raises:
        ConfigError: An option would change the model.
        InputError: There is no such run.
    """
    assert config.qat is not None
    if config.shard:
        raise ConfigError("--qat and --shard do not go together", "leave --shard out")
    run = find_run(config.qat)
    source = find_checkpoint(run)
    stored = load_config(TrainConfig, run / CONFIG)
    given = config.given_options() - {"qat"}
    values = {
        "epochs": None, "time": None, "patience": None, "warmup": None, "teacher": None, "teacher_weight": None,
        "unlabelled": None, "unlabelled_weight": None, "unfreeze_after": None, "name": None, "out": config.out,
        "resume": None, "tensorboard": False,
        "lr": None if stored.lr is None else stored.lr * _RATE,
        "steps": max(1, load_checkpoint(source)["step"] // _PART),
    }  # fmt: skip
    if given & LIMITS:
        values |= dict.fromkeys(LIMITS)
    if given & DEVICES:
        values |= {"gpus": None, "device": "auto", "ranks": 1}
    values["shard"] = False
    values |= {name: getattr(config, name) for name in given & (MAY_CHANGE | _OWN)}
    values |= {"weights": str(source.absolute()), "qat": run.absolute()}
    out = replace(stored, **values)
    places = config.with_absolute_places()
    changed = [
        flag_of(each)
        for each in options_of(TrainConfig)
        if each.name in given and getattr(places, each.name) != getattr(out.with_absolute_places(), each.name)
    ]
    if changed:
        raise ConfigError(
            f"--qat goes on with the model of {run}: {', '.join(changed)} cannot be changed", "leave it out"
        )
    return out


def card_in_8_bits(source: Path) -> ModelCard:
    """The model card of a checkpoint, for layers that compute as in 8 bits.

    Raises:
        ConfigError: Such models cannot, or the model does already.
        InputError: It is no checkpoint of segkit.
    """
    card = ModelCard.from_plain(load_checkpoint(source)["card"])
    if card.quantised:
        raise ConfigError(f"--qat {source}: computes as in 8 bits already", "go on with it: segkit train --resume RUN")
    known = card.model in _MODELS and not card.backbone.startswith("convnext") and card.settings.mask_head == "conv"
    if not known:
        what = card.backbone if card.model in _MODELS else card.model
        raise ConfigError(
            f"--qat: is not for {'PointRend' if card.settings.mask_head != 'conv' else what}",
            f"it is for {', '.join(_MODELS)}; others: segkit export --int8 --calibrate DATASET",
        )
    return replace(card, quantised=True)


def start_in_8_bits(config: TrainConfig, device: torch.device) -> nn.Module:
    """The trained model with rounding layers, whose ranges are measured on up to 64 training images.

    Args:
        config: The options of the run, as ``config_for_8_bits`` gives them.
        device: Where to predict them.

    Raises:
        InputError: There is an image that cannot be read.
    """
    assert config.weights is not None
    module, card = load_model(Path(config.weights), device)
    images = calibration_images(config.dataset, card)
    quantise_layers(module)
    module.to(device).eval()
    with torch.inference_mode(), measure_ranges(module):
        for image in images:
            module([image.to(device)])
    return module
