"""How large the results of a detector's data-dependent operations are, by the function that computes them.

There are two answers: the most that the settings of the detector allow, which a training reaches when its region
proposals have learnt to find instances; and the size in the first steps, when only the ground truth boxes, which
torchvision adds to the proposals, are positive.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

_LEVELS = 5  # feature maps that the RPN takes anchors from
_MAPS = 4  # feature maps that the heads take regions from
_MASKS = 4
_NEAR = 9  # places around the centre of an instance that have it
_LEVELS_OF_ONE = 3


class SizeQuery(NamedTuple):
    """A result whose size depends on values.

    Attributes:
        shape: Of the input.
        times: How many such results this function had before, in this forward pass.
        variables: The local variables of the function.
    """

    shape: tuple[int, ...]
    times: int
    variables: dict[str, Any]

    @property
    def elements(self) -> int:
        """Elements of the input."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the sizes depend on.

    Attributes:
        instances: Of each image of the micro-batch.
        rpn_samples: Anchors of an image that the loss of the RPN samples.
        rpn_positives: How many of them may be positive.
        roi_samples: Regions of an image that the loss of the heads samples.
        roi_positives: How many of them may be positive.
        at_most: Whether the upper bound is wanted; else the size in the first steps.
    """

    instances: Sequence[int] = ()
    rpn_samples: int = 256
    rpn_positives: int = 128
    roi_samples: int = 512
    roi_positives: int = 128
    at_most: bool = True

    def positives(self, image: int, most: int) -> int:
        """Positive regions of an image, of ``most`` at most; none where it has no instance."""
        there = self.instances[image % len(self.instances)] if self.instances else most
        return most if self.at_most and there else min(most, there)


def _all(bounds: Bounds, query: SizeQuery) -> int:
    return query.elements


def _rpn_samples(bounds: Bounds, query: SizeQuery) -> int:
    """The positive anchors of an image, then the negative ones."""
    positives = bounds.positives(query.times // 2, bounds.rpn_positives)
    return positives if query.times % 2 == 0 else bounds.rpn_samples - (0 if bounds.at_most else positives)


def _positive_regions(bounds: Bounds, query: SizeQuery) -> int:
    return bounds.positives(query.times, bounds.roi_positives)


def _regions_of_level(bounds: Bounds, query: SizeQuery) -> int:
    """The regions of one of the four feature maps: at most all of them; in the first steps a quarter.

    torchvision writes the regions of one map after the other to the result, and reads them again in backward: the peak
    is highest where most regions are in one map, no matter which. segkit's own pooling concatenates them, so that their
    numbers have to add up: there the finest map, which is the largest, gets all but one for each of the other maps, of
    which something is kept as well.
    """
    own = "x_filtered" not in query.variables
    level = query.variables.get("number" if own else "level")
    if not bounds.at_most:
        return query.elements // _MAPS + (query.elements % _MAPS if level == 0 else 0)
    if not own or level is None:
        return query.elements
    least = int(query.elements > _MAPS)
    return query.elements - least * (_MAPS - 1) if level == 0 else least


def _instances_here(bounds: Bounds, query: SizeQuery) -> int:
    """The largest few instances: what one mask needs is freed before the next."""
    return min(_MASKS, len(query.variables["corners"]))


def _regions_of_instance(bounds: Bounds, query: SizeQuery) -> int:
    return query.elements if bounds.at_most else -(-query.elements // len(query.variables["corners"]))


def _taught_places(bounds: Bounds, query: SizeQuery) -> int:
    """The places of an image that have an instance: at most nine of each in a level, in at most three levels."""
    if not bounds.instances:
        return query.elements
    return _LEVELS_OF_ONE * _NEAR * bounds.instances[query.times % len(bounds.instances)]


RULES: dict[str, Callable[[Bounds, SizeQuery], int]] = {
    "remove_small_boxes": _all,
    "filter_proposals": _all,
    "_batched_nms_vanilla": _all,
    "_batched_nms_vanilla:unique": lambda bounds, query: _LEVELS,
    "postprocess_detections": _all,
    "_some": _all,
    "compute_loss": _rpn_samples,
    "subsample": lambda bounds, query: bounds.roi_samples,
    "fastrcnn_loss": _positive_regions,
    "positive_regions": _positive_regions,
    "taught_places": _taught_places,
    "_best_of_level": _all,
    "_best_cells": _all,
    "_kept": _all,
    "not_empty": _all,
    "mask_targets": _regions_of_instance,
    "mask_targets:unique": _instances_here,
    "_multiscale_roi_align": _regions_of_level,
    "forward": _regions_of_level,  # segkit's own pooling
}
