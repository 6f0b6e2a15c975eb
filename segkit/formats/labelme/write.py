"""Results -> LabelMe files: every instance is a ``mask`` shape, so that converting back gives the same RLE.

Where a tolerance is named, instances are polygons, which are easier to correct.
"""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from segkit.data.contours import trace
from segkit.data.masks import rle_area, rle_crop, to_rle
from segkit.data.records import Result, Rle

FORMAT_VERSION = "5.11.0"  # of the format: masks as 8-bit PNGs of 0 and 1, imageData optional


def labelme_document(
    shapes: list[dict[str, Any]], image_path: str, height: int, width: int, flags: Sequence[str] = ()
) -> dict[str, Any]:
    """A LabelMe document.

    Args:
        shapes: The entries of ``shapes``.
        image_path: The path from the document's folder to the picture.
        height: Of the image, upright.
        width: Likewise.
        flags: Those of the image that are on.
    """
    return {
        "version": FORMAT_VERSION,
        "flags": dict.fromkeys(flags, True),
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def write_labelme(document: dict[str, Any], path: Path) -> None:
    """Write a LabelMe file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(labelme_content(document))


def labelme_content(document: dict[str, Any]) -> bytes:
    """The content of a LabelMe file."""
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()


def result_shapes(
    results: Sequence[Result], names: dict[int, str], height: int, width: int, tolerance: float | None = None
) -> Iterator[dict[str, Any]]:
    """The shapes of the results of one image.

    The score stands in each shape as ``score``, a key that LabelMe (4.2.7 and later) keeps, and in ``description``,
    which it shows. A result without a mask becomes a rectangle; one whose mask is empty is left out.

    Args:
        results: Of one image.
        names: Category names by id.
        height: Of the image, upright.
        width: Likewise.
        tolerance: Masks become polygons, from which their outlines are at most so many pixels away; those with holes,
            which a polygon cannot have, stay masks. None: all stay masks.
    """
    for number, result in enumerate(results, 1):
        shape: dict[str, Any] = {"label": names[result.category_id], "group_id": None, "flags": {}}
        shape |= {"description": f"score {result.score:.3f}", "score": result.score}
        if result.segmentation is not None:
            rle = to_rle(result.segmentation, height, width)
            if rle_area(rle) == 0:
                continue
            rings = [] if tolerance is None else simplified_rings(rle, tolerance)
            group = {"group_id": number} if len(rings) > 1 else {}
            for ring in rings:
                yield shape | group | {"shape_type": "polygon", "points": ring, "mask": None}
            if not rings:
                corners, bitmap = mask_shape(rle)
                yield shape | {"shape_type": "mask", "points": corners, "mask": bitmap}
        elif result.bbox is not None:
            x, y, w, h = result.bbox
            yield shape | {"shape_type": "rectangle", "points": [[x, y], [x + w, y + h]], "mask": None}


def simplified_rings(rle: Rle, tolerance: float) -> list[list[list[float]]]:
    """The outlines of a mask along the edges of its pixels, simplified (Douglas and Peucker 1973); none with holes.

    Args:
        rle: A mask that is not empty.
        tolerance: Pixels that a corner which is left out may be away from the line that replaces it.
    """
    crop = rle_crop(rle)
    assert crop is not None
    top, left, bitmap = crop
    outer, holes = trace(bitmap > 0)
    if holes:
        return []
    rings = []
    for ring in outer:
        corners = np.array(ring, np.int32)
        fewer = cv2.approxPolyDP(corners[:, None], tolerance, closed=True)[:, 0]
        kept = fewer if len(fewer) > 2 else corners  # an instance smaller than the tolerance
        rings.append((kept + np.array([left, top])).astype(float).tolist())
    return rings


def mask_shape(rle: Rle) -> tuple[list[list[float]], str]:
    """The corners of a ``mask`` shape, both inclusive as in LabelMe, and its bitmap as base64 of a PNG."""
    crop = rle_crop(rle)
    assert crop is not None  # the mask is not empty
    y, x, bitmap = crop
    h, w = bitmap.shape
    return [[float(x), float(y)], [float(x + w - 1), float(y + h - 1)]], _png(np.ascontiguousarray(bitmap))


def _png(crop: npt.NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
