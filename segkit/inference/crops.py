"""Pictures of single instances, in a zip file: what lies outside the mask is transparent."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.data.masks import rle_crop, to_rle
from segkit.formats.outlines import file_name
from segkit.inference.journal import PictureResults

_MARGIN = 8  # pixels around the instance


def write_crops(path: Path, done: PictureResults, names: dict[int, str]) -> None:
    """Write a PNG of each instance of a picture; of its box where it has no mask.

    Args:
        path: The zip file.
        done: The picture and its instances.
        names: Category names by id.
    """
    assert done.pixels is not None
    with zipfile.ZipFile(path, "w") as archive:  # PNGs are compressed already
        for number, result in enumerate(done.results, 1):
            alpha = np.zeros(0, np.uint8)
            if result.segmentation is not None:
                crop = rle_crop(to_rle(result.segmentation, done.height, done.width))
                if crop is None:
                    continue
                top, left, bitmap = crop
                alpha, (height, width) = bitmap * np.uint8(255), bitmap.shape
            elif result.bbox is not None:
                left, top, width, height = (round(value) for value in result.bbox)
            else:
                continue
            y0, x0 = max(0, top - _MARGIN), max(0, left - _MARGIN)
            y1, x1 = min(done.height, top + height + _MARGIN), min(done.width, left + width + _MARGIN)
            window = done.pixels[y0:y1, x0:x1]
            if not window.size:
                continue
            if alpha.size:
                shown = np.zeros(window.shape[:2], np.uint8)
                shown[top - y0 : top - y0 + height, left - x0 : left - x0 + width] = alpha
                window = np.dstack([window, shown])
            buffer = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(window)).save(buffer, "PNG")
            name = f"{number:04d}-{file_name(names[result.category_id])}.png"
            archive.writestr(zipfile.ZipInfo(name), buffer.getvalue())
