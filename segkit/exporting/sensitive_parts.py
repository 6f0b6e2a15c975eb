"""Which parts of a model change its answers most in 8 bits: each one is put in 8 bits alone, on a few images.

The error of a part's own outputs would be cheaper to measure, but does not tell what later layers make of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor

from segkit.exporting.calibrate import Calibrated, run, session_of
from segkit.exporting.quantise import quantise

_IMAGES = 6
_CLEAR = 0.3  # least score of the instances that are compared: those below it hardly count in a score
_Arrays = dict[str, npt.NDArray[Any]]


def ranked_parts(calibrated: Calibrated, images: Sequence[Tensor]) -> list[str]:
    """Parts, the one that changes answers most first.

    Args:
        calibrated: The graph.
        images: uint8 [C, H, W] each, of which some are looked at.
    """
    seen = images[:: -(-len(images) // _IMAGES)]
    whole = _answers(onnx.load(str(calibrated.path)), seen)
    file = calibrated.path.with_suffix(".part.onnx")
    changes: dict[str, float] = {}
    for part in calibrated.nodes.parts:
        quantise(calibrated, [each for each in calibrated.nodes.parts if each != part], file)
        found = _answers(onnx.load(str(file)), seen)
        changes[part] = sum(_change(*pair) for pair in zip(whole, found, strict=True))
    file.unlink(missing_ok=True)
    return sorted(changes, key=lambda part: changes[part], reverse=True)


def _answers(proto: Any, images: Sequence[Tensor]) -> list[_Arrays]:
    """The outputs of a graph for each image."""
    names = [each.name for each in proto.graph.output]
    session = session_of(proto, None)
    return [run(session, names, image) for image in images]


def _change(whole: _Arrays, found: _Arrays) -> float:
    """How far answers are from those in 32 bits: the mean over maps, and over instances that are clearly there."""
    maps = [name for name in ("probabilities", "distances", "classes") if name in whole]
    change = sum(float(np.abs(whole[name] - found[name]).mean()) for name in maps)
    if "boxes" not in whole:
        return change
    clear = whole["scores"] >= _CLEAR
    if not clear.any():
        return change
    boxes, labels, scores = (whole[name][clear] for name in ("boxes", "labels", "scores"))
    if not len(found["boxes"]):
        return change + 1
    overlap = _box_iou(boxes, found["boxes"]) * (labels[:, None] == found["labels"])
    nearest = overlap.argmax(1)
    lost = 1 - overlap.max(1) + np.abs(scores - found["scores"][nearest])
    if "masks" in whole:
        lost += np.abs(whole["masks"][clear] - found["masks"][nearest]).mean((1, 2))
    return change + float(lost.mean())


def _box_iou(some: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """IoU of boxes [N, 4] and [M, 4], [N, M]."""
    low, high = np.maximum(some[:, None, :2], others[:, :2]), np.minimum(some[:, None, 2:], others[:, 2:])
    shared = (high - low).clip(0).prod(2)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (some, others)]
    found: npt.NDArray[np.float32] = shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)
    return found
