"""What a server answers: instances as JSON, for segkit's own API and as the shapes of X-AnyLabeling."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from segkit.data.contours import trace
from segkit.data.masks import rle_area, rle_crop, to_rle
from segkit.data.records import Result
from segkit.serving.engine import Answer

_LEAST_POINTS = 3


def instances_of(answer: Answer, names: Mapping[int, str]) -> dict[str, Any]:
    """The document of segkit's own API.

    Boxes are x, y, width, height in pixels; ``segmentation`` is COCO's run-length encoding; ``outlines`` are closed
    polygons of pixel corners [[x, y], ...], those of holes among them: filled by the even-odd rule they are the mask.
    """
    instances = []
    for result in answer.results:
        row: dict[str, Any] = {"category": names[result.category_id], "category_id": result.category_id}
        row |= {"score": result.score, "bbox": list(result.bbox or ())}
        if result.segmentation is not None:
            rle = to_rle(result.segmentation, answer.height, answer.width)
            row |= {"segmentation": rle, "area": rle_area(rle), "outlines": _rings(result, answer, holes=True)}
        instances.append(row)
    return {"height": answer.height, "width": answer.width, "instances": instances}


def shapes_of(answer: Answer, names: Mapping[int, str], epsilon: float) -> list[dict[str, Any]]:
    """The shapes of X-AnyLabeling's remote protocol: a closed polygon for each part of a mask, or a rectangle.

    Its polygons have no holes: these are filled. Parts of one instance have one group id, from 1.

    Args:
        answer: The instances.
        names: Category names by id.
        epsilon: Points are left out that are nearer to the outline than this share of its length.
    """
    shapes: list[dict[str, Any]] = []
    groups = 0
    for result in answer.results:
        base: dict[str, Any] = {"label": names[result.category_id], "score": min(1.0, max(0.0, result.score))}
        base |= {"attributes": {}, "description": None, "difficult": False, "direction": 0, "flags": None}
        base |= {"group_id": None, "kie_linking": []}
        if result.segmentation is None:
            if result.bbox is not None:
                x, y, w, h = result.bbox
                corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
                shapes.append(base | {"shape_type": "rectangle", "points": corners})
            continue
        rings = [_simplified(ring, epsilon) for ring in _rings(result, answer, holes=False)]
        parts = [ring for ring in rings if len(ring) >= _LEAST_POINTS]
        if len(parts) > 1:
            groups += 1
            base["group_id"] = groups
        shapes += [base | {"shape_type": "polygon", "points": [*part, part[0]]} for part in parts]
    return shapes


def _rings(result: Result, answer: Answer, *, holes: bool) -> list[list[list[float]]]:
    """The outlines of a mask in pixel corners of the picture."""
    crop = rle_crop(to_rle(result.segmentation or [], answer.height, answer.width))
    if crop is None:
        return []
    top, left, bitmap = crop
    outer, inner = trace(bitmap > 0)
    return [[[float(x + left), float(y + top)] for x, y in ring] for ring in (*outer, *(inner if holes else ()))]


def _simplified(ring: list[list[float]], epsilon: float) -> list[list[float]]:
    if not epsilon:
        return ring
    points = np.array(ring, np.float32)[:, None]
    kept: list[list[float]] = cv2.approxPolyDP(points, epsilon * cv2.arcLength(points, True), True)[:, 0].tolist()
    return kept
