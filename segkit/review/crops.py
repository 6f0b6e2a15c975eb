"""Pictures of findings: the annotation, and beside it what was predicted."""

import base64
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segkit.conversion.contents import AnnotatedImage, Contents
from segkit.data.draw import Drawn, draw_regions
from segkit.data.masks import crop_to_rle, rle_bbox, rle_crop, to_rle
from segkit.data.records import Segmentation
from segkit.errors import InputError
from segkit.formats.pictures.framed import load_resized
from segkit.review.findings import CheckFinding

Pixels = npt.NDArray[np.uint8]
Region = tuple[Segmentation | None, tuple[float, float, float, float] | None, tuple[int, int, int], str]
_TRUE, _OTHER, _PREDICTED = (240, 150, 0), (150, 150, 150), (30, 144, 255)  # colours, as in check.html
_MARGIN, _LEAST = 0.4, 48  # of a crop around the box: a share of it, and pixels
_SIDE = 320  # of a panel, pixels


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding with its panels: title and base64 JPEG."""

    finding: CheckFinding
    panels: tuple[tuple[str, str], ...]


def show(contents: Contents, findings: Iterable[CheckFinding]) -> list[Shown]:
    """Findings with pictures where they have a place; each picture is decoded once.

    Args:
        contents: What was checked.
        findings: In the order of the page.
    """
    kept = list(findings)
    panels: dict[int, tuple[tuple[str, str], ...]] = {}
    order = sorted(range(len(kept)), key=lambda at: (kept[at].place or (-1, None))[0])
    loaded: tuple[int, Pixels] | None = None
    for at in order:
        place = kept[at].place
        if place is None:
            continue
        if loaded is None or loaded[0] != place[0]:
            loaded = (place[0], _load(contents.images[place[0]]))
        panels[at] = _panels(loaded[1], contents.images[place[0]], kept[at])
    return [Shown(finding, panels.get(at, ())) for at, finding in enumerate(kept)]


def _load(image: AnnotatedImage) -> Pixels:
    """The pixels, or grey ones if there is no such file."""
    with contextlib.suppress(InputError):
        if image.picture is not None:
            return load_resized(image.picture, image.size)
    return np.full((*image.size, 3), 235, np.uint8)


def _panels(pixels: Pixels, image: AnnotatedImage, finding: CheckFinding) -> tuple[tuple[str, str], ...]:
    if finding.box is None:
        return (("picture", _jpeg(pixels)),)
    window = _window(finding, image.size)
    index = finding.place[1] if finding.place is not None else None
    truth: list[Region] = [
        (each.segmentation, each.bbox, _TRUE if n == index else _OTHER, each.label if n == index else "")
        for n, each in enumerate(image.instances)
    ]
    truth.sort(key=lambda each: each[2] != _TRUE)  # the first is on top
    found: list[Region] = [(r.segmentation, r.bbox, _PREDICTED, f"{r.score:.2f}") for r in finding.predicted]
    panels = [("annotated", truth)]
    if finding.confidence is not None:
        panels.append(("predicted", found))
    return tuple((title, _jpeg(_drawn(pixels, regions, window, image.size))) for title, regions in panels)


def _window(finding: CheckFinding, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is shown: all that the finding is about, with a margin."""
    assert finding.box is not None
    boxes = [finding.box]
    for result in finding.predicted:
        if result.segmentation is not None:
            boxes.append(rle_bbox(to_rle(result.segmentation, *size)))
        elif result.bbox is not None:
            boxes.append(result.bbox)
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    margin = max(_MARGIN * max(right - left, bottom - top), _LEAST / 2)
    height, width = size
    x1, y1 = int(min(max(left - margin, 0), width - 1)), int(min(max(top - margin, 0), height - 1))
    x2, y2 = int(max(min(right + margin, width), x1 + 1)), int(max(min(bottom + margin, height), y1 + 1))
    return x1, y1, x2, y2


def _drawn(
    pixels: Pixels, regions: Sequence[Region], window: tuple[int, int, int, int], size: tuple[int, int]
) -> Pixels:
    """A part of a picture with what is annotated or predicted there, enlarged if it is small."""
    x1, y1, x2, y2 = window
    part = pixels[y1:y2, x1:x2]
    times = max(1, _SIDE // max(part.shape[:2]))
    part = np.ascontiguousarray(part.repeat(times, axis=0).repeat(times, axis=1))
    drawn = []
    for segmentation, bbox, shade, tag in regions:
        if segmentation:
            crop = rle_crop(to_rle(segmentation, *size))
            if crop is None:
                continue
            top, left, bitmap = crop
            y, x = max(y1 - top, 0), max(x1 - left, 0)  # only what is in the window is enlarged
            bitmap = bitmap[y : max(y2 - top, 0), x : max(x2 - left, 0)]
            if not bitmap.size:
                continue
            large = bitmap.repeat(times, axis=0).repeat(times, axis=1)
            at = ((top + y - y1) * times, (left + x - x1) * times)
            drawn.append(Drawn(crop_to_rle(large, *at, *part.shape[:2]), None, shade, tag))
        elif bbox is not None:
            x0, y0, w, h = ((bbox[0] - x1) * times, (bbox[1] - y1) * times, bbox[2] * times, bbox[3] * times)
            drawn.append(Drawn(None, (x0, y0, w, h), shade, tag))
    return draw_regions(part, drawn)


def _jpeg(pixels: Pixels) -> str:
    height, width = pixels.shape[:2]
    if max(height, width) > _SIDE:
        scale = _SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return base64.b64encode(bytes(data)).decode("ascii")
