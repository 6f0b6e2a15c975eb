"""The losses of an RF-DETR-Seg: transformers' own, image by image.

transformers matches queries and instances (Hungarian matching, by labels, boxes and masks at random points) and has the
losses of labels, boxes and masks. It divides by the instances of the whole batch, over all ranks; here those of each
image are divided by its own instances, and the mean over images is taken, as in all models of segkit: micro-batches and
ranks change nothing. Random points are drawn with the seed of their image for the same reason.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou

_NAMES = {
    "loss_ce": "loss_classifier", "loss_bbox": "loss_box_reg", "loss_giou": "loss_giou", "loss_mask_ce": "loss_mask",
    "loss_mask_dice": "loss_dice",
}  # fmt: skip
_MODULES = ("transformers.loss.loss_rf_detr", "transformers.loss.loss_lw_detr")
_in_order: ContextVar[bool] = ContextVar("in_order", default=False)

Layer = dict[str, Tensor]  # of one layer of the decoder: logits, pred_boxes and pred_masks, [B, Q, ...] each


def losses_of_batch(
    logits: Tensor,
    labels: Sequence[dict[str, Any]],
    device: torch.device,
    pred_boxes: Tensor,
    pred_masks: Tensor,
    config: Any,
    outputs_class: Tensor,
    outputs_coord: Tensor,
    outputs_masks: Sequence[Tensor],
    enc_outputs_class: Tensor,
    enc_outputs_coord: Tensor,
    enc_outputs_masks: Tensor,
    **_: Any,
) -> tuple[Tensor, dict[str, Tensor], None]:
    """What transformers calls in the place of its own loss, with its arguments; see ``RfDetrForSegmentationLoss``.

    Args:
        logits: Of the last layer of the decoder [B, Q, K + 1], which ``outputs_class`` has as well.
        labels: The instances of each image (``segkit.models.square.square_target``).
        device: Where they are.
        pred_boxes: Likewise [B, Q, 4].
        pred_masks: Likewise [B, Q, h, w].
        config: The model's.
        outputs_class: Of all layers of the decoder [L, B, Q, K + 1].
        outputs_coord: Their boxes [L, B, Q, 4].
        outputs_masks: Their mask logits [B, Q, h, w] each.
        enc_outputs_class: Of the encoder's proposals, likewise.
        enc_outputs_coord: Likewise.
        enc_outputs_masks: Likewise.

    Returns:
        The sum of the losses, the losses by name, and nothing in the place of outputs.
    """
    layers = [
        {"logits": kinds, "pred_boxes": boxes, "pred_masks": masks}
        for kinds, boxes, masks in zip(
            [logits, *outputs_class[:-1], enc_outputs_class],  # in transformers' order, which that of draws follows
            [pred_boxes, *outputs_coord[:-1], enc_outputs_coord],
            [pred_masks, *outputs_masks[:-1], enc_outputs_masks],
            strict=True,
        )
    ]
    with torch.autocast(logits.device.type, enabled=False):
        each = [_of_image(layers, number, target, config) for number, target in enumerate(labels)]
    losses = {name: torch.stack([one[name] for one in each]).mean() for name in each[0]}
    return torch.stack(list(losses.values())).sum(), losses, None


def _of_image(layers: Sequence[Layer], number: int, target: dict[str, Any], config: Any) -> dict[str, Tensor]:
    """The losses of an image, summed over layers, with the factors of the configuration."""
    own = [{name: values[number : number + 1].float() for name, values in layer.items()} for layer in layers]
    sums: dict[str, list[Tensor]] = {name: [] for name in _NAMES.values()}
    if _is_broken(own):  # transformers would raise an error; a step that is not finite is left out
        broken = torch.stack([each.sum() for each in own[0].values()]).sum() * torch.nan
        return dict.fromkeys(sums, broken)
    criterion = _criterion(config)
    count = max(1, len(target["class_labels"]) * config.group_detr)
    with _seeded(target.get("seed"), own[0]["logits"].device), _without_values(_in_order.get()):
        for layer in own:
            indices = _matched(criterion.matcher, layer, target, config.group_detr)
            for kind in ("labels", "boxes", "masks"):
                for name, value in criterion.get_loss(kind, layer, [target], indices, count).items():
                    sums[_NAMES[name]].append(value.sum())  # without instances some are empty
    factors = _factors(config)
    return {name: factors[name] * torch.stack(values).sum() for name, values in sums.items()}


def _is_broken(layers: Sequence[Layer]) -> bool:
    """Whether boxes or labels are no numbers."""
    checked = [values.isfinite().all() for layer in layers for name, values in layer.items() if name != "pred_masks"]
    return bool(~torch.stack(checked).all())


def _criterion(config: Any) -> Any:
    """Transformers' losses, with the factors of its configuration in the costs of matches."""
    package = sys.modules[_MODULES[0]]
    matcher = package.RfDetrHungarianMatcher(
        class_cost=config.class_cost, bbox_cost=config.bbox_cost, giou_cost=config.giou_cost,
        mask_point_sample_ratio=config.mask_point_sample_ratio, cost_mask_class_cost=config.mask_class_loss_coefficient,
        cost_mask_dice_cost=config.mask_dice_loss_coefficient,
    )  # fmt: skip
    return package.RfDetrImageLoss(
        matcher=matcher, num_classes=config.num_labels, focal_alpha=config.focal_alpha, losses=[],
        group_detr=config.group_detr, mask_point_sample_ratio=config.mask_point_sample_ratio,
    )  # fmt: skip


def _factors(config: Any) -> dict[str, float]:
    """The factor of each loss in the sum."""
    return {
        "loss_classifier": config.class_loss_coefficient,
        "loss_box_reg": config.bbox_loss_coefficient,
        "loss_giou": config.giou_loss_coefficient,
        "loss_mask": config.mask_class_loss_coefficient,
        "loss_dice": config.mask_dice_loss_coefficient,
    }


def _matched(matcher: Any, layer: Layer, target: dict[str, Any], groups: int) -> list[tuple[Tensor, Tensor]]:
    """The queries of each group that are matched with instances, and these; none where there are none."""
    if not len(target["class_labels"]):
        nothing = torch.empty(0, dtype=torch.int64)
        return [(nothing, nothing)]
    found: list[tuple[Tensor, Tensor]] = matcher(layer, [target], groups)
    return found


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed inside the block, and those before it go on after it."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def matched_in_order() -> Iterator[None]:
    """Match queries and instances in their order inside the block: for a rehearsal, on tensors without values."""
    token = _in_order.set(True)
    try:
        yield
    finally:
        _in_order.reset(token)


@contextmanager
def _without_values(rehearsed: bool) -> Iterator[None]:
    """Let transformers neither solve an assignment nor check boxes inside the block: both look at values."""
    modules = [sys.modules[name] for name in _MODULES] if rehearsed else []
    before = [(module, module.linear_sum_assignment, module.generalized_box_iou) for module in modules]
    for module in modules:
        module.linear_sum_assignment = _first_ones  # type: ignore[attr-defined]
        module.generalized_box_iou = generalized_box_iou  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, assignment, giou in before:
            module.linear_sum_assignment, module.generalized_box_iou = assignment, giou  # type: ignore[attr-defined]


def _first_ones(costs: Tensor) -> tuple[Any, Any]:
    places = np.arange(min(costs.shape))
    return places, places
