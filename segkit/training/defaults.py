"""Values for options that were left open, from the data and the device; ``config.toml`` of the run has them all.

The defaults for training from random weights on small datasets were measured:
``docs/decisions/0003-training-defaults.md``.
"""

from dataclasses import dataclass, replace
from os import cpu_count
from statistics import median

import torch

from segkit.choices import NormName
from segkit.config.train import TrainConfig
from segkit.data.find_levels import find_levels
from segkit.data.geometry import Framing, TargetKind
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.models.card import ModelCard
from segkit.models.detector import DetectorSettings
from segkit.models.weight_files import WeightFile
from segkit.models.weights import best_weights, check_backbone

_LARGEST, _LARGEST_ON_CPU, _LEAST_ON_CPU, _LARGEST_CROP, _LARGEST_CROP_ON_CPU = 800, 320, 160, 512, 256
_SIDE_ON_CPU = 40  # pixels that a typical instance should span: enough for its outline
_SMALL_SIDE = 64  # below, torchvision's smallest anchor (32) is too coarse
_STEPS, _STEPS_ON_CPU = 4000, 800  # of a run without a limit
_EPOCHS = (12, 300)
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
    config = _resolve_model(config, on_cpu, source)
    config = _resolve_size(config, facts, on_cpu)
    config = _resolve_batch(config, on_cpu, world_size)
    config = _resolve_optimizer(config)
    if config.epochs is None and config.steps is None and config.time is None:
        assert config.batch is not None
        steps = _STEPS_ON_CPU if on_cpu else _STEPS
        epochs = min(max(round(steps * config.batch / facts.num_images), _EPOCHS[0]), _EPOCHS[1])
        config = replace(config, epochs=epochs)
    return config


def _resolve_model(config: TrainConfig, on_cpu: bool, source: WeightFile | None) -> TrainConfig:
    """Backbone, weights, norm and frozen layers."""
    detects = config.model != "unet"
    if config.backbone is not None:
        backbone = config.backbone
    elif source is not None:
        backbone = source.backbone
    else:
        deep = config.weights == "coco" or (config.weights != "none" and not on_cpu and detects)
        backbone = "resnet50" if deep else "resnet18"
    if source is not None and source.model not in (None, config.model):
        raise ConfigError(
            f"{config.weights}: is a {source.model} with {source.backbone}, not a {config.model} with {backbone}",
            f"use --model {source.model} --backbone {source.backbone}",
        )
    if source is not None:
        check_backbone(str(config.weights), source, backbone)
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
    freeze = ("stem",) if pretrained_detector else ("none",)
    return replace(config, backbone=backbone, weights=weights, norm=config.norm or norm, freeze=config.freeze or freeze)


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
    if config.model != "unet":
        size = config.size or _shorter_side(facts, on_cpu)
    else:
        largest = _LARGEST_CROP_ON_CPU if on_cpu else _LARGEST_CROP
        size = config.size or max(32, min(facts.short_side // 32 * 32, largest))
        if size % 32:
            raise ConfigError(f"--size {size}: a U-Net's crop must be divisible by 32", f"use {size // 32 * 32 or 32}")
    return replace(config, size=size, max_size=config.max_size or max(size, round(size * 5 / 3)))


def _shorter_side(facts: DataFacts, on_cpu: bool) -> int:
    """The images' own shorter side, at most 800; on a CPU, as small as typical instances allow."""
    if not on_cpu:
        return max(32, min(facts.short_side, _LARGEST))
    wanted = facts.short_side * _SIDE_ON_CPU / max(facts.instance_side, 1.0)
    return max(32, min(facts.short_side, round(min(max(wanted, _LEAST_ON_CPU), _LARGEST_ON_CPU) / 32) * 32))


def _resolve_batch(config: TrainConfig, on_cpu: bool, world_size: int) -> TrainConfig:
    """Batch, micro-batch and loader workers."""
    batch = config.batch or (8 if config.model == "unet" else 4)
    if batch % world_size:
        raise ConfigError(f"--batch {batch} cannot be shared by {world_size} ranks", "make it a multiple of the ranks")
    micro_batch = config.micro_batch
    if not isinstance(micro_batch, str):
        micro_batch = min(micro_batch or batch, batch // world_size)
    workers = 0 if on_cpu else min(8, max(1, (cpu_count() or 1) // world_size))
    return replace(
        config,
        batch=batch,
        micro_batch=micro_batch,
        workers=workers if config.workers is None else config.workers,
    )


def _resolve_optimizer(config: TrainConfig) -> TrainConfig:
    """Optimizer, learning rate and regularisation.

    The peak learning rate is linear in the batch for SGD (Goyal et al. 2017), and grows with its square root for
    adaptive methods.
    """
    assert config.batch is not None
    optimizer = config.optimizer or "adamw"
    if optimizer == "sgd":
        rate, decay = round(0.02 * config.batch / 16, 6), 1e-4
    else:
        base = 5e-4 if config.weights == "none" else 2e-4
        rate, decay = round(base * float((config.batch / 4) ** 0.5), 6), 0.01
    return replace(
        config,
        optimizer=optimizer,
        lr=rate if config.lr is None else config.lr,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        clip_grad=10.0 if config.clip_grad is None else config.clip_grad,
        ema=0.0 if config.ema is None else config.ema,
    )


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


def settings_for(
    config: TrainConfig, facts: DataFacts, on_cpu: bool, source: WeightFile | None = None
) -> DetectorSettings:
    """A detector's numbers: enough for the most crowded image to be found, and for most of them to be learnt from.

    The model may find 1.5 times as many instances as the most crowded training image has, and at least 100, so that
    it does not limit the score. What it learns from in a step, on a CPU, is enough for three quarters of the images: a
    single crowded one would make every step slow, and of its many instances a sample is learnt from each time. Anchors
    are those that the weights were made with; where these are not a detector's, torchvision's, or half as large where
    instances are small.

    Args:
        config: Options with values (``resolve_defaults``).
        facts: About the training split.
        on_cpu: Whether it is trained on a CPU.
        source: What the file of ``--weights`` holds, if it names one.
    """
    assert config.size is not None
    detections = max(100, round(1.5 * facts.most_instances))
    small = facts.instance_side * config.size / facts.short_side < _SMALL_SIDE and config.weights != "coco"
    anchors = (16, 32, 64, 128, 256) if small else (32, 64, 128, 256, 512)
    if source is not None and source.anchors is not None:
        anchors = source.anchors
    if on_cpu:
        proposals = min(2000, max(100, 20 * facts.usual_instances))
        rois = min(512, max(32, 4 * facts.usual_instances))
        in_evaluation = max(detections, min(1000, 10 * facts.most_instances))
    else:
        proposals, rois = max(2000, 10 * facts.usual_instances), 512
        in_evaluation = max(detections, 1000, 5 * facts.most_instances)
    return DetectorSettings(proposals, rois, detections, anchors, in_evaluation, aligned_masks=True)


def card_for(config: TrainConfig, dataset: Dataset, settings: DetectorSettings) -> ModelCard:
    """The model card of a run whose options all have values (``resolve_defaults``)."""
    assert config.backbone is not None
    assert config.norm is not None
    assert config.size is not None
    assert config.max_size is not None
    kind: TargetKind = "semantic" if config.model == "unet" else "instances"
    return ModelCard(
        model=config.model,
        backbone=config.backbone,
        norm=config.norm,
        loss=config.loss,
        settings=settings,
        framing=Framing(kind, config.size, config.max_size),
        categories=dataset.categories,
        uncovered=dataset.uncovered,
        levels=find_levels([dataset.paths.of(image) for image in dataset.images]),
    )
