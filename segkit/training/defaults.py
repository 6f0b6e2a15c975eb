"""What the user left open, decided from the data and the device; every decision ends up in ``config.toml``.

The defaults for training from random weights on small sets were measured: ``docs/decisions/0003-recipe.md``.
"""

from dataclasses import dataclass, replace
from os import cpu_count
from statistics import median

import torch

from segkit.choices import BackboneName, NormName
from segkit.config.train import TrainConfig
from segkit.data.geometry import Framing
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.models.card import ModelCard
from segkit.models.detector import DetectorSettings
from segkit.models.weights import best_weights

_LARGEST, _LARGEST_ON_CPU, _LEAST_ON_CPU, _LARGEST_CROP, _LARGEST_CROP_ON_CPU = 800, 320, 160, 512, 256
_SIDE_ON_CPU = 40  # pixels that a typical instance should span: enough for its outline, and no more work than that
_SMALL_SIDE = 64  # below, torchvision's smallest anchor (32) is too coarse
_STEPS, _STEPS_ON_CPU = 4000, 800  # what a run aims at where no limit is given
_EPOCHS = (12, 300)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the recipe looks at."""

    num_images: int
    short_side: int  # median, pixels
    most_instances: int  # in one image
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
        return DataFacts(len(dataset.images), round(median(sides)), max(counts), median(spans))


def fill_in(
    config: TrainConfig, facts: DataFacts, device: torch.device, world_size: int, source: ModelCard | None = None
) -> TrainConfig:
    """The config with every None that has a value decided.

    Args:
        config: What was asked for.
        facts: Of the training split.
        device: Where it runs.
        world_size: How many ranks share a batch.
        source: What the checkpoint is that ``--weights`` names, if it is one.

    Raises:
        ConfigError: The options contradict each other.
    """
    on_cpu = device.type == "cpu"
    detects = config.model != "unet"
    backbone: BackboneName = config.backbone or (
        "resnet50" if config.weights not in ("none",) and not on_cpu and detects else "resnet18"
    )
    if config.backbone is None and config.weights == "coco":
        backbone = "resnet50"
    if source is not None:
        backbone = config.backbone or source.backbone  # type: ignore[assignment]
        if (config.model, backbone) != (source.model, source.backbone):
            raise ConfigError(
                f"{config.weights}: is a {source.model} with {source.backbone}, not a {config.model} with {backbone}",
                f"use --model {source.model} --backbone {source.backbone}",
            )
    weights = config.weights or best_weights(config.model, backbone)
    pretrained = weights != "none"
    if detects:
        size = config.size or _size(facts, on_cpu)
    else:
        largest = _LARGEST_CROP_ON_CPU if on_cpu else _LARGEST_CROP
        size = config.size or max(32, min(facts.short_side // 32 * 32, largest))
        if size % 32:
            raise ConfigError(f"--size {size}: a U-Net's crop must be divisible by 32", f"use {size // 32 * 32 or 32}")
    batch = config.batch or (4 if detects else 8)
    if batch % world_size:
        raise ConfigError(f"--batch {batch} cannot be shared by {world_size} ranks", "make it a multiple of the ranks")
    if on_cpu and config.norm == "sync":
        raise ConfigError("--norm sync works on GPUs only", "use --norm group, which does not depend on the batch")
    share = batch // world_size
    optimizer = config.optimizer or "adamw"
    adaptive = optimizer != "sgd"
    epochs = config.epochs
    if epochs is None and config.steps is None and config.time is None:
        aim = _STEPS_ON_CPU if on_cpu else _STEPS
        epochs = min(max(round(aim * batch / facts.num_images), _EPOCHS[0]), _EPOCHS[1])
    return replace(
        config,
        backbone=backbone,
        weights=weights,
        norm=config.norm or _norm(pretrained and detects, source),
        freeze=config.freeze or (("stem",) if pretrained and detects else ("none",)),
        epochs=epochs,
        batch=batch,
        micro_batch=config.micro_batch
        if isinstance(config.micro_batch, str)
        else min(config.micro_batch or share, share),
        optimizer=optimizer,
        lr=config.lr if config.lr is not None else _rate(adaptive, pretrained, batch),
        weight_decay=config.weight_decay if config.weight_decay is not None else (0.01 if adaptive else 1e-4),
        clip_grad=config.clip_grad if config.clip_grad is not None else 10.0,
        ema=config.ema if config.ema is not None else 0.0,
        size=size,
        max_size=config.max_size or max(size, round(size * 5 / 3)),
        workers=config.workers if config.workers is not None else (0 if on_cpu else _workers(world_size)),
    )


def _norm(pretrained: bool, source: ModelCard | None) -> NormName:
    """What the weights were made with; torchvision's are meant to be frozen in detectors."""
    if source is not None:
        return source.norm  # type: ignore[return-value]
    return "frozen" if pretrained else "batch"


def _rate(adaptive: bool, pretrained: bool, batch: int) -> float:
    """A peak rate for a batch: linear in it for SGD (Goyal et al. 2017), by its root for adaptive methods."""
    if not adaptive:
        return round(0.02 * batch / 16, 6)
    return round((2e-4 if pretrained else 5e-4) * float((batch / 4) ** 0.5), 6)


def _workers(world_size: int) -> int:
    return min(8, max(1, (cpu_count() or 1) // world_size))


def _size(facts: DataFacts, on_cpu: bool) -> int:
    """The shorter side: the pictures' own, at most 800; on a CPU, what shows a typical instance well enough."""
    if not on_cpu:
        return max(32, min(facts.short_side, _LARGEST))
    wanted = facts.short_side * _SIDE_ON_CPU / max(facts.instance_side, 1.0)
    return max(32, min(facts.short_side, round(min(max(wanted, _LEAST_ON_CPU), _LARGEST_ON_CPU) / 32) * 32))


def settings_for(config: TrainConfig, facts: DataFacts, on_cpu: bool) -> DetectorSettings:
    """A detector's numbers: enough for the most crowded picture, and no more than that on a CPU.

    Half as many detections again as the most crowded training picture has instances, and never fewer than 100, so
    that the score is not capped by the model. Anchors are torchvision's, or half as large where instances are small
    and no COCO weights expect the larger.
    """
    assert config.size is not None
    detections = max(100, round(1.5 * facts.most_instances))
    small = facts.instance_side * config.size / facts.short_side < _SMALL_SIDE and config.weights != "coco"
    anchors = (16, 32, 64, 128, 256) if small else (32, 64, 128, 256, 512)
    if on_cpu:
        proposals = min(2000, max(detections, 20 * facts.most_instances))
        rois = min(512, max(32, 4 * facts.most_instances))
    else:
        proposals, rois = max(2000, 10 * facts.most_instances), 512
    return DetectorSettings(proposals, rois, detections, anchors)


def card_for(config: TrainConfig, dataset: Dataset, settings: DetectorSettings) -> ModelCard:
    """What is going to be trained; ``config`` is filled in."""
    assert config.backbone is not None
    assert config.norm is not None
    assert config.size is not None
    assert config.max_size is not None
    kind = "semantic" if config.model == "unet" else "instances"
    return ModelCard(
        model=config.model,
        backbone=config.backbone,
        norm=config.norm,
        loss=config.loss,
        settings=settings,
        framing=Framing(kind, config.size, config.max_size),  # type: ignore[arg-type]
        categories=tuple(sorted(dataset.categories, key=lambda category: category.id)),
        uncovered=dataset.uncovered,
    )
