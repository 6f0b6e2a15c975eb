"""The last layers of the mask head, which in training compute the mask of one label for each region."""

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor


class MaskPredictor(MaskRCNNPredictor):  # type: ignore[misc]  # torchvision has no types
    """torchvision's, with its parameters, and without what a training does not need."""

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits [R, K + 1, M, M] of the masks in all labels, or [R, M, M] of those in the labels [R].

        torchvision computes all labels and learns from one: with 80 categories the others are four fifths of what the
        head makes for a region.
        """
        if labels is None:
            every: Tensor = super().forward(features)
            return every
        last = self.mask_fcn_logits
        wide = self.conv5_mask(features)
        rows = last.weight[labels].flatten(1).to(wide.dtype)  # [R, C]
        own: Tensor = _OwnLogits.apply(wide, rows) + last.bias[labels][:, None, None]
        return own


class _OwnLogits(torch.autograd.Function):
    """ReLU, and the product with a row of weights for each region.

    Autograd would hold the map of a region three times in backward: itself, and its gradient after and before the ReLU.
    Here it is twice.
    """

    @staticmethod
    def forward(ctx: Any, wide: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(wide, rows)
        logits = torch.matmul(rows[:, None], wide.clamp(min=0).flatten(2))  # [R, 1, M * M]
        return logits.float().view(len(wide), *wide.shape[2:])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        wide, rows = ctx.saved_tensors
        gradient = gradients[0].to(wide.dtype)
        of_rows = of_wide = None
        if ctx.needs_input_grad[1]:
            of_rows = torch.matmul(gradient.flatten(1)[:, None], wide.clamp(min=0).flatten(2).transpose(1, 2))[:, 0]
        if ctx.needs_input_grad[0]:
            of_wide = torch.empty_like(wide)
            torch.mul(rows[:, :, None, None], gradient[:, None], out=of_wide)
            torch.ops.aten.threshold_backward.grad_input(of_wide, wide, 0, grad_input=of_wide)
        return of_wide, of_rows
