"""Where rounding decides: images that tell nothing of an exported file, and boxes of equal scores.

Group norms divide by the deviation in an image, which is nearly 0 where it has one colour: ONNX Runtime's sums were off
by as much as weights that differ by 1e-5, torch's by 1e-7. Of two boxes with equal scores non-maximum suppression keeps
the one that comes first, and sorting orders equal values as it likes. The objectness of regions with logits above 16
differs in the last bit of fp32 or not at all, runtimes compute the sigmoid differently, and only so many are looked at.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from segkit.export.compare import compare, compare_maps
from segkit.models.detector import Detector
from segkit.models.tensors import Prediction
from segkit.models.unet import UNet

_TRIES = 4
_NOISE = 1e-5  # relative, of every weight
_SIGMOID = 1e-7  # of a probability near 1: its last bit or two
_SATURATED = 15.5  # a logit from which on these bits are all that tells probabilities apart
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
    others = _rounded_otherwise(model)
    if isinstance(model, UNet):
        maps = model.maps([image])[0]
        differences = (compare_maps(name, maps, other.maps([image])[0], model.settings.instances) for other in others)
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


def _rounded_otherwise(model: nn.Module) -> Iterator[Any]:
    """Copies of a model that compute the same but for rounding: of each weight, or of the objectness of regions."""
    generator = torch.Generator().manual_seed(0)

    def blur(_head: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        noise = _SIGMOID * torch.randn(logits.shape, generator=generator) * logits.clamp(min=0).exp()
        return torch.maximum(logits + noise, logits.clamp(max=_SATURATED))

    for _ in range(_TRIES):
        other = copy.deepcopy(model)
        for value in other.parameters():
            value.mul_(1 + _NOISE * torch.randn(value.shape, generator=generator))
        yield other
        if isinstance(model, Detector):
            other = copy.deepcopy(model)
            other.rpn.head.cls_logits.register_forward_hook(blur)
            yield other
