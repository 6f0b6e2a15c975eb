"""Where rounding decides: images that tell nothing of an exported file, and boxes of equal scores.

Group norms divide by the deviation in an image, which is nearly 0 where it has one colour: ONNX Runtime's sums were off
by as much as weights that differ by 1e-5, torch's by 1e-7. Of two boxes with equal scores non-maximum suppression keeps
the one that comes first, and sorting orders equal values as it likes. The objectness of regions with logits above 16
differs in the last bit of fp32 or not at all, runtimes compute the sigmoid differently, and only so many are looked at.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segkit.exporting.compare import PredictionDifference, compare, compare_maps
from segkit.models.build import InstanceModel
from segkit.models.detector import Detector
from segkit.models.tensors import Prediction
from segkit.models.unet import UNet

_TRIES = 4
_NOISE = 1e-5  # relative, of every weight
_SIGMOID = 1e-7  # of a probability near 1: its last bit or two
_SATURATED = 15.5  # a logit from which on these bits are all that tells probabilities apart
_MORE = 10  # times the largest difference that was made so: there are few tries
_ALL = 1 << 20  # instances


@torch.inference_mode()
def rounding_explains(
    found: PredictionDifference, model: UNet | InstanceModel, image: Tensor, tolerance: float, cap: int
) -> bool:
    """Whether a difference is as large as that between a model and itself with other rounding.

    A fault makes a larger one, also on images on which rounding changes the predictions.

    Args:
        found: The difference of an exported file.
        model: In evaluation mode, on the CPU.
        image: uint8 [C, H, W].
        tolerance: The largest difference that is allowed.
        cap: Largest number of instances that the model predicts.
    """
    name, made = found.picture, list[PredictionDifference]()
    own: Any = model.maps([image])[0] if isinstance(model, UNet) else model([image])[0]
    for other in _rounded_otherwise(model):
        if isinstance(model, UNet):
            made.append(compare_maps(name, own, other.maps([image])[0], model.settings.instances))
        else:
            made.append(compare(name, image, own, other([image])[0], tolerance=tolerance, cap=cap))
        if _explain(made, found, tolerance):
            return True
    return False


def _explain(made: Sequence[PredictionDifference], found: PredictionDifference, tolerance: float) -> bool:
    """Whether one of the differences that rounding made is more than is allowed, and the found one is of their size."""
    if all(each.within(tolerance) for each in made):
        return False
    return found.unmatched <= 2 * max(each.unmatched for each in made) and all(
        getattr(found, part) <= max(tolerance, _MORE * max(getattr(each, part) for each in made))
        for part in ("boxes", "scores", "masks")
    )


@torch.inference_mode()
def without_suppression(model: InstanceModel, image: Tensor) -> Prediction:
    """All instances that a detector finds, also those that it leaves out as others overlap them."""
    before = model.limits()
    model.set_limits(1.0, _ALL)
    try:
        found: Prediction = model([image])[0]
        return found
    finally:
        model.set_limits(*before)


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
