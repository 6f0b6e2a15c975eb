"""Boundary AP: AP by the overlap of contours as well as of masks, in which errors of large instances count.

Source: Cheng et al., Boundary IoU (CVPR 2021): the overlap is the smaller of mask IoU and the IoU of the bands inside
the contours; of crowds it is that of the masks.
"""

from collections import defaultdict

import numpy as np

from segkit.evaluate.coco.engine import EvaluationInputs, PrecisionRecall, Records, evaluate
from segkit.evaluate.coco.overlap import Floats, ious


def evaluate_boundary(inputs: EvaluationInputs, max_dets: list[int]) -> PrecisionRecall:
    """COCO's numbers with boundary IoU.

    Args:
        inputs: Annotations and results with masks.
        max_dets: Limits on the detections of a category in an image, rising.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in inputs.truth["images"]}
    truth: dict[tuple[int, int], Records] = defaultdict(list)
    found: dict[tuple[int, int], Records] = defaultdict(list)
    for groups, records in ((truth, inputs.truth["annotations"]), (found, inputs.results)):
        for record in records:
            groups[record["image_id"], record["category_id"]].append(record)

    def overlap(image_id: int, category_id: int) -> Floats | list[None]:
        annotations, results = truth[image_id, category_id], found[image_id, category_id]
        if not annotations and not results:
            return []
        results = sorted(results, key=lambda result: -result["score"])[: max_dets[-1]]
        crowd = np.array([bool(a["iscrowd"]) for a in annotations], bool)
        return ious(results, annotations, crowd, "boundary", sizes[image_id])

    return evaluate(inputs, "bbox", max_dets, "pycocotools", overlap)
