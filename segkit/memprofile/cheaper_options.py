"""Changes of options that save memory, from those that cost the least to those that cost the most."""

from collections.abc import Collection
from typing import Any

import torch

from segkit.choices import ARCHITECTURES
from segkit.config.train import TrainConfig
from segkit.training.plan import Plan

Changes = dict[str, Any]
"""New values of options, by their names in the config."""

_SMALLEST, _UNIT = 64, 32  # pixels: the smallest size of images that is tried; sizes are multiples
_DEEP = ("resnet34", "resnet50", "resnet101")


def singles(configured: TrainConfig, plan: Plan, micro_batch: int) -> list[Changes]:
    """Changes of one option each.

    A smaller micro-batch costs a little time and changes nothing that is learnt, except with batch norm: then it comes
    after the changes that do not affect the micro-batch.

    Args:
        configured: The training as configured.
        plan: The same, with all decided that was left open.
        micro_batch: Its micro-batch.
    """
    fewer: list[Changes] = [{"micro_batch": count} for count in sorted({micro_batch // 2, 1}, reverse=True)
                            if 0 < count < micro_batch]  # fmt: skip
    half: list[Changes] = [{"precision": "bf16"}] if plan.dtype is torch.float32 else []
    low: list[Changes] = [{"memory": "low"}] if configured.memory == "normal" and not configured.compile else []
    smaller = [change for change in (_size(configured, plan, 0.75),) if change]
    if plan.card.norm == "batch":
        return [*half, *low, *fewer, *smaller]
    return [*fewer, *half, *low, *smaller]


def combinations(configured: TrainConfig, plan: Plan, micro_batch: int, helps: Collection[str]) -> list[Changes]:
    """Several changes at once, each saving more than the one before.

    Args:
        configured: The training as configured.
        plan: The same, with all decided that was left open.
        micro_batch: Its micro-batch.
        helps: Options that save memory when they alone are changed.
    """
    change: Changes = {"micro_batch": 1} if micro_batch > 1 and "micro_batch" in helps else {}
    out = []
    further = [
        {"precision": "bf16"} if "precision" in helps else {},
        {"memory": "low"} if "memory" in helps else {},
        _size(configured, plan, 0.75),
        _size(configured, plan, 0.5),
        _shallower(configured, plan),
        _size(configured, plan, 0.25),
    ]
    for more in further:
        if more:
            change = change | more
            out.append(change)
    return [each for each in out if each.keys() - {"micro_batch", "precision", "memory"} or len(each) > 1]


def options_of(changes: Changes) -> str:
    """The changes as options of the command line."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changes.items())


def _size(configured: TrainConfig, plan: Plan, share: float) -> Changes:
    network = plan.card.rfdetr
    unit, smallest = (_UNIT, _SMALLEST) if network is None else (network.multiple, network.least_size())
    size = max(smallest, round(plan.card.framing.size * share / unit) * unit)
    if size >= plan.card.framing.size:
        return {}
    if configured.max_size is None or ARCHITECTURES[configured.model].pixels:
        return {"size": size}
    return {"size": size, "max_size": max(size, round(plan.card.framing.max_size * share))}


def _shallower(configured: TrainConfig, plan: Plan) -> Changes:
    if plan.card.backbone not in _DEEP:
        return {}
    return {"backbone": "resnet18"} | ({"weights": "imagenet"} if plan.config.weights == "coco" else {})
