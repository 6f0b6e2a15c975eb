"""The worst and the best pictures, truth beside prediction, as JPEG data for a page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.draw import Drawn, colour, draw_regions
from segkit.data.masks import mask_to_rle, rle_to_mask, to_rle
from segkit.data.pictures import load_rgb
from segkit.data.records import Dataset, Image
from segkit.errors import InputError
from segkit.evaluate.analysis.details import Explanation, Picture
from segkit.evaluate.pixels.confusion import IGNORED
from segkit.evaluate.pixels.per_picture import LabelMaps
from segkit.evaluate.report.tables import worst_first

Pixels = npt.NDArray[np.uint8]
FOUND, WRONG, MISSED = (46, 160, 67), (218, 54, 51), (240, 150, 0)
_WIDTH = 720  # of a panel, pixels
_LEAST = 400  # what is narrower is enlarged, so that its words can be read
_OPACITY = 0.55
NUM_WORST, NUM_BEST = 12, 4


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One picture of the gallery: its name, what is to be said of it, and its panels with their titles."""

    name: str
    words: str
    panels: tuple[tuple[str, str], ...]  # title, base64 JPEG


def instance_exhibits(
    explanation: Explanation, images: dict[int, Image], folder: Path
) -> tuple[list[Exhibit], list[Exhibit]]:
    """The worst and the best pictures by the quality at the asked score."""
    scored = [p for p in sorted(explanation.pictures, key=worst_first) if p.quality.figures()["PQ"] >= 0]
    worst = scored[: min(NUM_WORST, (2 * len(scored) + 2) // 3)]
    best = scored[max(len(worst), len(scored) - NUM_BEST) :][::-1]

    def exhibits(pictures: list[Picture]) -> list[Exhibit]:
        return [_exhibit(explanation, picture, images[picture.image_id], folder) for picture in pictures]

    return exhibits(worst), exhibits(best)


def _exhibit(explanation: Explanation, picture: Picture, image: Image, folder: Path) -> Exhibit:
    pixels, times = _picture(folder, image), max(1, round(_LEAST / image.width))
    overlaps, fates = picture.fates.picture, picture.fates
    names, truth = explanation.pair.names, explanation.pair.truth["annotations"]
    shown = overlaps.score >= explanation.score
    found = set(fates.annotation[fates.hit & shown].tolist())
    wrong = {mistake.detection: mistake.kind for mistake in picture.mistakes}
    annotations = [
        Drawn(
            truth[n].get("segmentation"),
            truth[n]["bbox"],
            (128, 128, 128) if overlaps.crowd[g] else FOUND if g in found else MISSED,
            names[int(overlaps.truth[g])] + (" (crowd)" if overlaps.crowd[g] else ""),
        )
        for g, n in enumerate(overlaps.annotation.tolist())
    ]
    detections = []
    for d in np.flatnonzero(shown).tolist():
        result = explanation.pair.results[int(overlaps.number[d])]
        tag = f"{names[int(overlaps.found[d])]} {overlaps.score[d]:.2f}"
        segmentation = result.get("segmentation") if explanation.kind == "segm" else None
        kind = wrong.get(d)
        detections.append(
            Drawn(segmentation, result["bbox"], WRONG if kind else FOUND, f"{tag}: {kind}" if kind else tag)
        )
    panels = (("ground truth", annotations), ("prediction", detections))
    q = picture.quality
    quality = max(q.figures()["PQ"], 0)
    words = f"{q.hits} of {picture.instances} instances matched, {q.misses} false positives, PQ {quality:.2f}"
    return Exhibit(
        image.file_name,
        words,
        tuple((title, _jpeg(draw_regions(*_enlarged(pixels, regions, times)))) for title, regions in panels),
    )


def _enlarged(pixels: Pixels, regions: Sequence[Drawn], times: int) -> tuple[Pixels, list[Drawn]]:
    """A picture and what is to be drawn on it, so many times as large."""
    if times == 1:
        return pixels, list(regions)
    height, width = pixels.shape[:2]
    enlarged = []
    for region in regions:
        segmentation, box = region.segmentation, region.bbox
        if segmentation:
            mask = rle_to_mask(to_rle(segmentation, height, width))
            segmentation = mask_to_rle(mask.repeat(times, axis=0).repeat(times, axis=1))
        if box is not None:
            box = (box[0] * times, box[1] * times, box[2] * times, box[3] * times)
        enlarged.append(replace(region, segmentation=segmentation, bbox=box))
    size = (width * times, height * times)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), np.uint8), enlarged


def pixel_exhibits(shown: Sequence[LabelMaps], dataset: Dataset) -> list[Exhibit]:
    """Pictures with their true and predicted labels, and where the two differ."""
    exhibits = []
    for maps in shown:
        image, (truth, prediction) = maps.row.image, maps.unpacked()
        pixels = _picture(dataset.images_dir, image)
        wrong = (truth != prediction) & (truth != IGNORED)
        differ = pixels.copy()
        differ[wrong] = (pixels[wrong] * (1 - _OPACITY) + np.array(WRONG) * _OPACITY).astype(np.uint8)
        exhibits.append(
            Exhibit(
                image.file_name,
                f"mIoU {maps.row.mIoU:.2f}, pixel accuracy {maps.row.pixel_accuracy:.0%}",
                (
                    ("ground truth", _jpeg(_painted(pixels, truth))),
                    ("prediction", _jpeg(_painted(pixels, prediction))),
                    ("errors", _jpeg(differ)),
                ),
            )
        )
    return exhibits


def label_colours(dataset: Dataset) -> list[tuple[str, str]]:
    """Category names and the colours of their labels in ``pixel_exhibits``, as CSS."""
    return [(c.name, "rgb({}, {}, {})".format(*colour(n))) for n, c in enumerate(dataset.categories)]


def _painted(pixels: Pixels, labels: npt.NDArray[np.uint8]) -> Pixels:
    palette = np.zeros((256, 3))
    palette[1:IGNORED] = [colour(label - 1) for label in range(1, IGNORED)]
    mixed = (pixels * (1 - _OPACITY) + palette[labels] * _OPACITY).astype(np.uint8)
    return np.where(((labels > 0) & (labels != IGNORED))[..., None], mixed, pixels)


def _picture(folder: Path, image: Image) -> Pixels:
    """The picture's pixels, or an empty canvas of its size where the file is not there or is another."""
    path = find(folder, image)
    try:
        pixels = load_rgb(path) if path is not None else np.zeros((0, 0, 3), np.uint8)
    except InputError:
        pixels = np.zeros((0, 0, 3), np.uint8)
    if pixels.shape[:2] == (image.height, image.width):
        return pixels
    return np.full((image.height, image.width, 3), 235, np.uint8)


def find(folder: Path, image: Image) -> Path | None:
    """The picture's file: by its name, or by the last part of it, for names that begin with folders of elsewhere."""
    places = (folder / image.file_name, folder / PurePosixPath(image.file_name.replace("\\", "/")).name)
    return next((place for place in places if place.is_file()), None)


def _jpeg(pixels: Pixels) -> str:
    height, width = pixels.shape[:2]
    if width > _WIDTH:
        pixels = np.asarray(
            cv2.resize(pixels, (_WIDTH, max(1, round(height * _WIDTH / width))), interpolation=cv2.INTER_AREA), np.uint8
        )
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return base64.b64encode(bytes(data)).decode("ascii")
