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
        at_most: Whether the upper bound is wanted; else the size in the first steps.
    """

    instances: Sequence[int] = ()
    at_most: bool = True

    def positives(self, image: int, most: int) -> int:
        """Positive regions of an image, of ``most`` at most; none where it has no instance."""
        there = self.instances[image % len(self.instances)] if self.instances else most
        return most if self.at_most and there else min(most, there)


def _all(bounds: Bounds, query: SizeQuery) -> int:
    return query.elements


def _candidates(bounds: Bounds, query: SizeQuery) -> int:
    """Regions that the sampler may choose from: the positive ones of an image, then its negative ones."""
    regions = query.variables["matched_idxs"]  # of every image; two samplers ask, one after the other
    image, negative = divmod(query.times % (2 * len(regions)), 2)
    if negative:
        return len(regions[image])
    return bounds.positives(image, query.variables["most"])


def _regions_of_level(bounds: Bounds, query: SizeQuery) -> int:
    """The regions of one of the feature maps: at most all of them; in the first steps equally many in each.

    They are concatenated, so that their numbers have to add up: the finest map, which is the largest, gets all but one
    for each of the other maps, of which something is kept as well.
    """
    return _share(bounds, query.elements, query.variables["number"], len(query.variables["levels"]))


def _regions_of_map(bounds: Bounds, query: SizeQuery) -> int:
    """The same in torchvision's pooling, which writes those of one map after the other: at most all are in one."""
    return query.elements if bounds.at_most else _share(bounds, query.elements, query.variables["level"], _MAPS)


def _regions_by_level(bounds: Bounds, query: SizeQuery) -> int:
    """The same, where all maps are asked for at once."""
    levels = len(query.variables["levels"])
    return _share(bounds, len(query.variables["level_of"]), query.times % levels, levels)


def _share(bounds: Bounds, regions: int, level: int, levels: int) -> int:
    if not bounds.at_most:
        return regions // levels + (regions % levels if level == 0 else 0)
    least = int(regions > levels)
    return regions - least * (levels - 1) if level == 0 else least


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
    "_multiscale_roi_align": _regions_of_map,
    "forward": _regions_of_level,  # segkit's own pooling, on a CPU
    "_by_levels:on_host": _regions_by_level,
    "__call__:on_host": _candidates,
    "mask_losses:on_host": lambda bounds, query: 0,  # all regions are in the largest instance
    "mask_targets:on_host": lambda bounds, query: 0,
    "taught_places": _taught_places,
    "_best_of_level": _all,
    "_best_cells": _all,
    "_best_queries": _all,
    "_kept": _all,
    "not_empty": _all,
}
