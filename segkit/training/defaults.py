"""Values for options that were left open, from the data and the device; ``config.toml`` of the run has them all.

The defaults for training from random weights on small datasets were measured:
``docs/decisions/0003-training-defaults.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from segkit.choices import ARCHITECTURES, HeadsName, NormName
from segkit.config.train import TrainConfig
from segkit.config.train_checks import check_shard
from segkit.data.depth import Levels
from segkit.data.find_levels import count_channels, find_channel_ranges, find_levels
from segkit.data.geometry import Framing, TargetKind
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.models.card import ModelCard
from segkit.models.detector_settings import DetectorSettings
from segkit.models.sizes import DEFAULT_EPS
from segkit.models.weight_files import WeightFile
from segkit.models.weights import best_weights, check_backbone, eps_of, without_network
from segkit.runtime.cores import cores_of_a_process
from segkit.training.transformer_defaults import network_for

_LARGEST, _LARGEST_ON_CPU, _LEAST_ON_CPU, _LARGEST_CROP, _LARGEST_CROP_ON_CPU = 800, 320, 160, 512, 256
_LARGEST_FOR_TINY = 1344
_SIDE_ON_CPU = 40  # pixels that a typical instance should span: enough for its outline
_STEPS, _STEPS_ON_CPU = 4000, 800  # of a run without a limit
_EPOCHS = (12, 300)
_RGB = 3  # channels
_EMA_OF_TEACHERS = 0.999
_RATE_OF_TRANSFORMERS, _CLIP_OF_TRANSFORMERS = 1e-4, 0.1  # as published
_STEPS_BETWEEN, _STEPS_BETWEEN_ON_CPU = 100, 25  # at least, between evaluations


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The facts about a training split that defaults depend on."""

    num_images: int
    short_side: int  # median, pixels
    most_instances: int  # in one image
    usual_instances: int  # three quarters of the images that have any have at most so many
    instance_side: float  # median of the root of the box's area, pixels

    @staticmethod
    def of(dataset: Dataset) -> "DataFacts":
        """The facts of a training split.

        Raises:
            ConfigError: There is nothing to learn from.
        """
        if not dataset.images:
            raise ConfigError("the training split has no images", "convert with a smaller --val")
        if not dataset.annotations:
            raise ConfigError("the training split has no annotations: there is nothing to learn")
        counts = [len(each) for each in dataset.annotations_of().values()]
        sides = [min(image.height, image.width) for image in dataset.images]
        spans = [(a.bbox[2] * a.bbox[3]) ** 0.5 for a in dataset.annotations]
        usual = sorted(counts)[-(-3 * len(counts) // 4) - 1]
        return DataFacts(len(dataset.images), round(median(sides)), max(counts), usual, median(spans))


def resolve_defaults(
    config: TrainConfig, facts: DataFacts, device: torch.device, world_size: int, source: WeightFile | None = None
) -> TrainConfig:
    """Choose a value for every option that was left open and has one.

    Args:
        config: The options as given.
        facts: About the training split.
        device: Where the run computes.
        world_size: How many ranks share a batch.
        source: What the file of ``--weights`` holds, if it names one.

    Raises:
        ConfigError: The options contradict each other.
    """
    on_cpu = device.type == "cpu"
    if ARCHITECTURES[config.model].queries:
        config = _resolve_transformer(config, source)
    else:
        config = _resolve_model(config, on_cpu, source)
        config = _resolve_size(config, facts, on_cpu)
    config = _resolve_batch(config, on_cpu, world_size)
    config = _resolve_optimizer(config, source)
    if config.epochs is None and config.steps is None and config.time is None:
        assert config.batch is not None
        steps = _STEPS_ON_CPU if on_cpu else _STEPS
        epochs = min(max(round(steps * config.batch / facts.num_images), _EPOCHS[0]), _EPOCHS[1])
        config = replace(config, epochs=epochs)
    return config


def _resolve_model(config: TrainConfig, on_cpu: bool, source: WeightFile | None) -> TrainConfig:
    """Backbone, weights, norm and frozen layers."""
    detects = not ARCHITECTURES[config.model].pixels
    if config.backbone is not None:
        backbone = config.backbone
    elif source is not None:
        backbone = source.backbone
    else:
        deep = config.weights == "coco" or (config.weights != "none" and not on_cpu and detects)
        backbone = "resnet50" if deep else "resnet18"
    if backbone == "dinov2":
        raise ConfigError(
            f"--backbone dinov2 is for --model rfdetr; {config.model} cannot be built on it", "leave --backbone out"
        )
    if backbone == "plain" and not ARCHITECTURES[config.model].pixels:
        raise ConfigError(
            f"--backbone plain is for --model unet; {config.model} cannot be built on it", "leave --backbone out"
        )
    if source is not None and source.model not in (None, config.model, ARCHITECTURES[config.model].extends):
        raise ConfigError(
            f"{config.weights}: is a {source.model} with {source.backbone}, not a {config.model} with {backbone}",
            f"use --model {source.model} --backbone {source.backbone}",
        )
    if source is not None:
        check_backbone(str(config.weights), source, backbone)
    if config.backbone is None and config.weights is None:
        backbone = without_network(config.model, backbone) or backbone
    weights = config.weights or best_weights(config.model, backbone)
    pretrained_detector = weights != "none" and detects
    if on_cpu and config.norm == "sync":
        raise ConfigError("--norm sync works on GPUs only", "use --norm group, which does not depend on the batch")
    # Weights were made with a norm; torchvision's are meant to be frozen in detectors.
    norm: NormName = "frozen" if pretrained_detector else "batch"
    if source is not None and (source.model is not None or source.norm == "group"):
        norm = source.norm
    if weights != "none":
        _check_norm(weights, config.norm or norm, source)
    heads = _resolve_heads(config, source) if "heads" in ARCHITECTURES[config.model].options else None
    freeze = ("stem",) if pretrained_detector else ("none",)
    return replace(
        config,
        backbone=backbone,
        weights=weights,
        norm=config.norm or norm,
        heads=heads,
        freeze=config.freeze or freeze,
    )


def _resolve_transformer(config: TrainConfig, source: WeightFile | None) -> TrainConfig:
    """Weights and size of a model whose feature extractor and norms are its own; all its layers learn."""
    if source is not None and source.model not in (None, config.model):
        raise ConfigError(
            f"{config.weights}: is a {source.model} with {source.backbone}, not a {config.model}",
            f"use --model {source.model}",
        )
    size = config.size or network_for(config, source).grid_size
    return replace(
        config,
        backbone="dinov2",
        weights=config.weights or best_weights(config.model, "dinov2"),
        norm="frozen",  # its own, which do not depend on the batch either
        freeze=config.freeze or ("none",),
        size=size,
        max_size=config.max_size or round(size * 5 / 3),
    )


def _resolve_heads(config: TrainConfig, source: WeightFile | None) -> HeadsName:
    """The version of a detector's pyramid and heads: the one of the weights."""
    return config.heads or (source.heads if source is not None else None) or "v1"


def _check_norm(weights: str, norm: NormName, source: WeightFile | None) -> None:
    """Check that weights mean something to a norm: group norm computes other features from those of batch norm.

    Raises:
        ConfigError: They do not.
    """
    made_with = "group" if source is not None and source.norm == "group" else "batch"
    if (norm == "group") != (made_with == "group"):
        raise ConfigError(
            f"--norm {norm}: the weights ({weights}) were made with {made_with} norm and would mean nothing",
            "--norm frozen keeps them and does not depend on the batch; or start from random weights: --weights none"
            if norm == "group"
            else "leave --norm out",
        )


def _resolve_size(config: TrainConfig, facts: DataFacts, on_cpu: bool) -> TrainConfig:
    """The size of the images as the model gets them."""
    if not ARCHITECTURES[config.model].pixels:
        size = config.size or _shorter_side(facts, on_cpu)
    else:
        largest = _LARGEST_CROP_ON_CPU if on_cpu else _LARGEST_CROP
        size = config.size or max(32, min(facts.short_side // 32 * 32, largest))
        if size % 32:
            raise ConfigError(f"--size {size}: a U-Net's crop must be divisible by 32", f"use {size // 32 * 32 or 32}")
    return replace(config, size=size, max_size=config.max_size or max(size, round(size * 5 / 3)))


def _shorter_side(facts: DataFacts, on_cpu: bool) -> int:
    """The images' own shorter side, at most 800, or 1344 where instances are tiny; on a CPU, as small as they allow."""
    wanted = facts.short_side * _SIDE_ON_CPU / max(facts.instance_side, 1.0)
    if not on_cpu:  # larger than 800 only where instances would be tiny
        larger = round(min(max(wanted, _LARGEST), _LARGEST_FOR_TINY) / 32) * 32
        return max(32, min(facts.short_side, larger))
    return max(32, min(facts.short_side, round(min(max(wanted, _LEAST_ON_CPU), _LARGEST_ON_CPU) / 32) * 32))


def _resolve_batch(config: TrainConfig, on_cpu: bool, world_size: int) -> TrainConfig:
    """Batch, micro-batch and loader workers."""
    batch = config.batch or (8 if ARCHITECTURES[config.model].pixels else 4)
    if batch % world_size:
        raise ConfigError(f"--batch {batch} cannot be shared by {world_size} ranks", "make it a multiple of the ranks")
    check_shard(config, world_size)
    if config.unlabelled and config.norm == "sync" and world_size > 1:
        raise ConfigError(
            "--unlabelled and --norm sync do not go together on several GPUs: one whose images get no pseudo-labels "
            "does not compute, and the others would wait for its statistics",
            "use --norm group or --norm frozen",
        )
    micro_batch = config.micro_batch
    if not isinstance(micro_batch, str):
        micro_batch = min(micro_batch or batch, batch // world_size)
    workers = 0 if on_cpu else min(8, cores_of_a_process(world_size))
    return replace(
        config,
        batch=batch,
        channels_last=config.channels_last and not config.shard,  # fully_shard takes contiguous weights only
        micro_batch=micro_batch,
        workers=workers if config.workers is None else config.workers,
    )


def _resolve_optimizer(config: TrainConfig, source: WeightFile | None) -> TrainConfig:
    """Optimizer, learning rate and regularisation.

    The peak learning rate is linear in the batch for SGD (Goyal et al. 2017), and grows with its square root for
    adaptive methods. It is lower where the heads have learnt already, not only the backbone.
    """
    assert config.batch is not None
    optimizer, transformer = config.optimizer or "adamw", ARCHITECTURES[config.model].queries
    if optimizer == "sgd":
        rate, decay = round(0.02 * config.batch / 16, 6), 1e-4
    else:
        learnt = config.weights == "coco" or (source is not None and (source.model or source.heads) is not None)
        base = _RATE_OF_TRANSFORMERS if transformer else 2e-4 if learnt else 5e-4
        rate, decay = round(base * float((config.batch / 4) ** 0.5), 6), 0.01
    return replace(
        config,
        optimizer=optimizer,
        lr=rate if config.lr is None else config.lr,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        clip_grad=(_CLIP_OF_TRANSFORMERS if transformer else 10.0) if config.clip_grad is None else config.clip_grad,
        ema=(_EMA_OF_TEACHERS if config.unlabelled else 0.0) if config.ema is None else config.ema,
        teacher_weight=_weight(config.teacher_weight, config.teacher is not None),
        unlabelled_weight=_weight(config.unlabelled_weight, bool(config.unlabelled)),
    )


def _weight(given: float | None, there: bool) -> float | None:
    """The weight of what a model learns from; None where there is no such thing."""
    return 1.0 if there and given is None else given


def epochs_between_evaluations(epoch_length: int, num_val: int, batch: int, device: torch.device) -> int:
    """Epochs after which evaluations and checkpoints take about a tenth of the time, by counts and not by a clock.

    An image takes about half as long to evaluate as to learn from; a checkpoint takes as long as a few steps.

    Args:
        epoch_length: Images in an epoch.
        num_val: Images in the validation split.
        batch: Images in a step.
        device: Where the run computes.
    """
    least = batch * (_STEPS_BETWEEN_ON_CPU if device.type == "cpu" else _STEPS_BETWEEN)
    return max(1, -(-max(5 * num_val, least) // epoch_length))


def card_for(
    config: TrainConfig, dataset: Dataset, settings: DetectorSettings, source: WeightFile | None = None
) -> ModelCard:
    """The model card of a run whose options all have values (``resolve_defaults``).

    Args:
        config: The options.
        dataset: The training split.
        settings: A detector's numbers.
        source: What the file of ``--weights`` holds, if it names one.
    """
    assert config.backbone is not None
    assert config.norm is not None
    assert config.size is not None
    assert config.max_size is not None
    assert config.weights is not None
    eps = eps_of(config.weights, config.model, config.backbone, settings.heads, source)
    kind: TargetKind = "semantic" if ARCHITECTURES[config.model].pixels else "instances"
    return ModelCard(
        model=config.model,
        backbone=config.backbone,
        norm=config.norm,
        loss=config.loss,
        settings=settings,
        framing=Framing(kind, config.size, config.max_size),
        categories=dataset.categories,
        uncovered=dataset.uncovered,
        levels=_levels_for(config, [dataset.paths.of(image) for image in dataset.images]),
        norm_eps=eps if eps or config.norm == "frozen" else DEFAULT_EPS,  # 0 only where statistics are fixed
    )


def _levels_for(config: TrainConfig, paths: Sequence[Path]) -> Levels:
    """What the values of images become, and which channels the model takes.

    Raises:
        ConfigError: None of the images that are looked at has as many channels as were asked for.
    """
    levels = find_levels(paths)
    if not ARCHITECTURES[config.model].pixels:
        return levels
    count = config.channels or count_channels(paths)
    if count == _RGB:
        return levels
    if count == 1:
        return replace(levels, channels=((0.0, 255.0),))
    ranges = find_channel_ranges(paths, count)
    if ranges is None:
        raise ConfigError(
            f"--channels {count}: no image of {config.dataset} has so many", "TIFF files have; leave it out for 3"
        )
    return replace(levels, channels=ranges)
