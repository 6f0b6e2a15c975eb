"""Where rounding decides: images that tell nothing of an exported file, and boxes of equal scores.

Group norms divide by the deviation in an image, which is nearly 0 where it has one colour: ONNX Runtime's sums were off
by as much as weights that differ by 1e-5, torch's by 1e-7. Of two boxes with equal scores non-maximum suppression keeps
the one that comes first, and sorting orders equal values as it likes.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from segkit.export.compare import compare, compare_maps
from segkit.models.detector import Detector
from segkit.models.tensors import Prediction
from segkit.models.unet import UNet

_TRIES = 4
_NOISE = 1e-5  # relative, of every weight
_ALL = 1 << 20  # instances


@torch.inference_mode()
def rounding_decides(model: UNet | Detector, name: str, image: Tensor, tolerance: float, cap: int) -> bool:
    """Whether the predictions of a model differ from its own, with weights that differ by rounding.

    Args:
        model: In evaluation mode, on the CPU.
        name: Of the image.
        image: uint8 [3, H, W].
        tolerance: The largest difference that is allowed.
        cap: Largest number of instances that the model predicts.
    """
    generator = torch.Generator().manual_seed(0)
    others = (_rounded_otherwise(model, generator) for _ in range(_TRIES))
    if isinstance(model, UNet):
        maps = model.probabilities([image])[0]
        differences = (compare_maps(name, maps, other.probabilities([image])[0]) for other in others)
    else:
        found = model([image])[0]
        differences = (compare(name, image, found, other([image])[0], tolerance=tolerance, cap=cap) for other in others)
    return any(not each.within(tolerance) for each in differences)


@torch.inference_mode()
def without_suppression(model: Detector, image: Tensor) -> Prediction:
    """All instances that a detector finds, also those that it leaves out as others overlap them."""
    heads = model.roi_heads
    before = heads.nms_thresh, heads.detections_per_img
    heads.nms_thresh, heads.detections_per_img = 1.0, _ALL
    try:
        found: Prediction = model([image])[0]
        return found
    finally:
        heads.nms_thresh, heads.detections_per_img = before


def _rounded_otherwise(model: nn.Module, generator: torch.Generator) -> Any:
    """A copy of a model, each weight of which is changed a little."""
    other = copy.deepcopy(model)
    for value in other.parameters():
        value.mul_(1 + _NOISE * torch.randn(value.shape, generator=generator))
    return other
