"""Boundary AP: AP by the overlap of contours as well as of areas, which large instances cannot hide behind.

Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation (CVPR 2021): overlap is the
smaller of mask IoU and the IoU of the bands inside the contours, 2 % of the image's diagonal wide; of crowds it is
that of the masks.
"""

from collections import defaultdict

import numpy as np

from segkit.evaluate.coco.engine import Evaluation, Records, evaluate_with
from segkit.evaluate.coco.inputs import Pair
from segkit.evaluate.coco.overlap import Floats, ious


def evaluate_boundary(pair: Pair, caps: list[int]) -> Evaluation:
    """COCO's numbers with boundary IoU.

    Args:
        pair: Annotations and results with masks.
        caps: Detections counted in an image and category, rising.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in pair.truth["images"]}
    truth: dict[tuple[int, int], Records] = defaultdict(list)
    found: dict[tuple[int, int], Records] = defaultdict(list)
    for groups, records in ((truth, pair.truth["annotations"]), (found, pair.results)):
        for record in records:
            groups[record["image_id"], record["category_id"]].append(record)

    def overlap(image_id: int, category_id: int) -> Floats | list[None]:
        annotations, results = truth[image_id, category_id], found[image_id, category_id]
        if not annotations and not results:
            return []
        results = sorted(results, key=lambda result: -result["score"])[: caps[-1]]
        crowd = np.array([bool(a["iscrowd"]) for a in annotations], bool)
        return ious(results, annotations, crowd, "boundary", sizes[image_id])

    return evaluate_with(overlap, pair.truth, pair.results, caps)
