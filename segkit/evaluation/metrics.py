"""The record of an evaluation, as it is in ``metrics.json``."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

COMPARED = (("segm", "AP"), ("bbox", "AP"), ("semantic", "mIoU"))  # the parts that are compared, and their main metric
_SIGNIFICANT = 0.05


def verdict(p: float) -> str:
    """What a p-value says of a difference."""
    return "significant" if p < _SIGNIFICANT else "not significant"


def compared_on(compare: dict[str, Any]) -> str:
    """What a comparison was made on, in words."""
    images = "1 image" if compare["images"] == 1 else f"{compare['images']} images"
    left_out = compare["left_out"]
    only = f", those that were predicted for both: {left_out} others are left out" if left_out else ""
    return f"both scored on {compare['data']}, {images}{only}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceMetrics:
    """COCO's twelve numbers (-1: nothing to average over), by category, and at a higher limit on detections.

    ``renumbered`` is set if an annotation has the id 0: pycocotools, whose numbers the twelve are, counts a match with
    that annotation as a false positive; ``renumbered`` has the numbers with ids from 1. ``areas`` has the size classes
    that were named besides COCO's.
    """

    AP: float
    AP50: float
    AP75: float
    APs: float
    APm: float
    APl: float
    AR1: float
    AR10: float
    AR100: float
    ARs: float
    ARm: float
    ARl: float
    per_category: dict[str, dict[str, float]]
    at_max_dets: dict[str, float] | None = None
    renumbered: dict[str, float] | None = None
    areas: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticMetrics:
    """Pixel scores: means over the categories that occur in truth or prediction.

    ``F1`` is Dice's coefficient; ``fwIoU`` weighs each category by its true pixels; ``confusion`` is [truth,
    prediction] with background first; ``mIoU_coverage`` is how often intervals such as ``mIoU_interval`` contained the
    score in simulations, from and to. What was not computed is None.
    """

    mIoU: float
    pixel_accuracy: float
    mean_accuracy: float
    F1: float
    fwIoU: float
    per_category: dict[str, dict[str, float | None]]
    boundary_IoU: float | None = None
    mIoU_interval: list[float] | None = None
    mIoU_coverage: list[float] | None = None
    confusion: list[list[int]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PanopticMetrics:
    """Panoptic quality and its factors (-1: nothing to average over): of all categories, of things, and of stuff."""

    PQ: float
    SQ: float
    RQ: float
    things: dict[str, float]
    stuff: dict[str, float]
    per_category: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What an evaluation found."""

    images: int
    max_dets: int
    engine: str | None = None
    segm: InstanceMetrics | None = None
    bbox: InstanceMetrics | None = None
    boundary: InstanceMetrics | None = None
    semantic: SemanticMetrics | None = None
    panoptic: PanopticMetrics | None = None
    lvis: dict[str, dict[str, float]] | None = None
    details: dict[str, Any] | None = None
    compare: dict[str, Any] | None = None
    agreement: dict[str, Any] | None = None
    as_tool: dict[str, Any] | None = None
    promise: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    about: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the parts that were not computed."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        for part in ("segm", "bbox", "boundary", "semantic"):
            if document[part] is not None:
                document[part] = {name: value for name, value in document[part].items() if value is not None}
        return {name: value for name, value in document.items() if value is not None}

    def primary(self) -> tuple[str, float]:
        """The name and value of the metric by which models are compared."""
        if self.panoptic is not None:
            return "PQ", self.panoptic.PQ
        if self.semantic is not None:
            return "mIoU", self.semantic.mIoU
        if self.segm is not None:
            return "mask AP", self.segm.AP
        return "box AP", self.bbox.AP if self.bbox is not None else -1.0

    def headline(self) -> dict[str, float]:
        """The main score of each part that was computed, by name."""
        found = {"PQ": self.panoptic.PQ} if self.panoptic is not None else {}
        found |= {"mIoU": self.semantic.mIoU} if self.semantic is not None else {}
        found |= {"mask AP": self.segm.AP} if self.segm is not None else {}
        return found | ({"box AP": self.bbox.AP} if self.bbox is not None else {})

    def finds_something(self) -> bool:
        """Whether the metric by which models are compared is above 0 for a category; background is none."""
        if self.semantic is None or self.panoptic is not None:
            return self.primary()[1] > 0
        scores = {name: each["IoU"] for name, each in self.semantic.per_category.items()}
        return any((score or 0.0) > 0 for name, score in scores.items() if name != "background")
