"""Which part of a model allocates: the category of memory in a trace, in words that users know."""

from typing import Any

import torch
from torch import nn

from segkit.memory.measure.torch_private import tree_leaves
from segkit.memory.simulate.trace import Trace

_PARTS = {
    "backbone.body": "feature extractor",
    "backbone.fpn": "feature pyramid",
    "rpn": "region proposals",
    "roi_heads": "region heads",
    "roi_heads.box_roi_pool": "pooling for boxes",
    "roi_heads.box_head": "box head",
    "roi_heads.box_predictor": "box head",
    "roi_heads.mask_roi_pool": "pooling for masks",
    "roi_heads.mask_head": "mask head",
    "roi_heads.mask_predictor": "mask head",
    "roi_heads.mask_head.coarse": "coarse mask head",
    "roi_heads.mask_head.points": "point head",
    "body": "encoder",
    "decoder": "decoder",
    "head": "head",
    "mask_branch": "mask branch",
    "network.model.model.backbone.backbone": "feature extractor",
    "network.model.model.backbone.projector": "feature pyramid",
    "network.model.model.decoder": "decoder",
    "semantic": "semantic branch",
}


def track_model_parts(model: nn.Module, trace: Trace) -> None:
    """Register hooks that report to a trace which part of the model is running."""
    parts = dict(model.named_modules())
    for name, category in _PARTS.items():
        if name not in parts:
            continue
        _during(parts[name], trace, category)
        if name in ("backbone.body", "body", "decoder"):
            for child, part in parts[name].named_children():
                _during(part, trace, f"{category}, {child}")


def _during(part: nn.Module, trace: Trace, category: str) -> None:
    """Set the category during a part's forward, and in backward from the gradient of its output on."""
    before: list[str] = []

    def begin(module: nn.Module, inputs: Any) -> None:
        before.append(trace.category)
        trace.category = category

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        trace.category = before.pop()
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                tensor.register_hook(enter_backward)  # type: ignore[no-untyped-call]

    def enter_backward(gradient: torch.Tensor) -> None:
        trace.category = category

    part.register_forward_pre_hook(begin)
    part.register_forward_hook(end)
