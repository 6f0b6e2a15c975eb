"""The rules of each tool, with the place in its source where one reads them."""

from dataclasses import dataclass

from segkit.choices import ScoringTool
from segkit.evaluation.coco.engine import IouType
from segkit.evaluation.other_tools.scene import (
    Change,
    above,
    areas_of_masks,
    at_most,
    reduced_masks,
    smaller_on_top,
    trapezoid,
    without_copies,
    without_crowds,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a tool does otherwise than COCOeval on all results.

    Attributes:
        text: What it does, in words.
        source: File and function.
        change: The same, done.
        only: The IoU type that it is about; None: both.
    """

    text: str
    source: str
    change: Change
    only: IouType | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: the version whose source was read, its rules in their order, and whether it has AP by size."""

    version: str
    rules: tuple[Rule, ...]
    sizes: bool


_ULTRALYTICS = (
    Rule("scores up to 0.001 are dropped", "engine/validator.py: BaseValidator.__call__ (conf)",
         above(0.001)),
    Rule("300 results of an image, over all categories", "cfg/default.yaml: max_det; utils/nms.py",
         at_most(300)),
    Rule("annotations of crowds are left out", "data/converter.py: convert_coco", without_crowds),
    Rule("copies of an annotation are dropped", "data/utils.py: verify_image_label", without_copies),
    Rule("masks at a quarter of 640 pixels", "models/yolo/segment/val.py: SegmentationValidator._prepare_batch; "
         "data/utils.py: polygon2mask", reduced_masks(640), "segm"),
    Rule("annotations: the smaller one is on top", "data/utils.py: polygons2masks_overlap "
         "(cfg/default.yaml: overlap_mask)", smaller_on_top, "segm"),
    Rule("AP by trapezoids under the curve",
         "utils/metrics.py: compute_ap", trapezoid),
)  # fmt: skip

_DETECTRON2 = (
    Rule("scores up to 0.05 are dropped", "config/defaults.py: MODEL.ROI_HEADS.SCORE_THRESH_TEST; "
         "modeling/roi_heads/fast_rcnn.py: fast_rcnn_inference_single_image", above(0.05)),
    Rule("100 results of an image, over all categories", "config/defaults.py: TEST.DETECTIONS_PER_IMAGE; "
         "modeling/roi_heads/fast_rcnn.py: fast_rcnn_inference_single_image", at_most(100)),
    Rule("results have the size of their masks", "evaluation/coco_evaluation.py: "
         "_evaluate_predictions_on_coco", areas_of_masks, "segm"),
)  # fmt: skip

_TORCHVISION = (
    Rule("scores up to 0.05 are dropped", "torchvision/models/detection/faster_rcnn.py: "
         "FasterRCNN (box_score_thresh)", above(0.05)),
    Rule("100 results of an image, over all categories", "torchvision/models/detection/roi_heads.py: "
         "RoIHeads.postprocess_detections (box_detections_per_img)", at_most(100)),
    Rule("results have the size of their masks", "references/detection/coco_eval.py: "
         "CocoEvaluator.prepare_for_coco_segmentation", areas_of_masks, "segm"),
)  # fmt: skip

TOOLS: dict[ScoringTool, Tool] = {
    "ultralytics": Tool("8.4.190", _ULTRALYTICS, sizes=False),
    "detectron2": Tool("02b5c4e2 (June 2026)", _DETECTRON2, sizes=True),
    "torchvision": Tool("0.26", _TORCHVISION, sizes=True),
}
