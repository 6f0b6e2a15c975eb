"""The worst and the best images, ground truth and prediction, as JPEG data for a page."""

import base64
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segkit.data.draw import Drawn, colour, draw_regions
from segkit.data.label_maps import IGNORED
from segkit.data.masks import mask_to_rle, rle_to_mask, to_rle
from segkit.data.records import Dataset, Image, PicturePaths
from segkit.errors import InputError
from segkit.evaluation.analysis.details import Details, ImageDetails
from segkit.evaluation.analysis.tide import ERROR_TYPES
from segkit.evaluation.pixels.per_image import LabelMaps
from segkit.evaluation.report.tables import worst_first
from segkit.formats.pictures.framed import load_resized
from segkit.pages import Filter, filter_of

Pixels = npt.NDArray[np.uint8]
_TP, _FP, _FN, _CROWD = (46, 160, 67), (218, 54, 51), (240, 150, 0), (128, 128, 128)  # colours, as in report.html
_WIDTH, _HEIGHT = 960, 3840  # of a panel at most, pixels: a reader can enlarge it, and no JPEG is higher than 65,535
_LEAST = 400  # narrower images are enlarged, so that their labels can be read
_OPACITY = 0.55
_NUM_WORST, _NUM_BEST = 12, 4


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """One image of the gallery.

    Attributes:
        name: Of its file.
        caption: Its scores.
        panels: Title and base64 JPEG.
        tags: By key of a filter, the names under which it is found.
    """

    name: str
    caption: str
    panels: tuple[tuple[str, str], ...]
    tags: dict[str, frozenset[str]]


def filters_of(key: str, images: Sequence[GalleryImage], dataset: Dataset) -> list[Filter]:
    """What a reader can choose among images: a category, and a kind of error where instances are shown.

    Args:
        key: "instances" or "pixels".
        images: Of both galleries.
        dataset: Has the order of the categories.
    """
    names = [category.name for category in dataset.categories]
    found = [filter_of(f"{key}-category", "category", [image.tags[f"{key}-category"] for image in images], names)]
    if key == "instances":
        kinds = [image.tags[f"{key}-error"] for image in images]
        found.append(filter_of(f"{key}-error", "kind of error", kinds, ERROR_TYPES))
    return [each for each in found if each is not None]


def instance_gallery(
    details: Details, images: dict[int, Image], paths: PicturePaths
) -> tuple[list[GalleryImage], list[GalleryImage]]:
    """The worst and the best images by panoptic quality at the score threshold."""
    scored = [i for i in sorted(details.images, key=worst_first) if i.panoptic_total().quality()["PQ"] >= 0]
    worst = scored[: min(_NUM_WORST, (2 * len(scored) + 2) // 3)]
    best = scored[max(len(worst), len(scored) - _NUM_BEST) :][::-1]

    def gallery(some: list[ImageDetails]) -> list[GalleryImage]:
        return [_gallery_image(details, image, images[image.image_id], paths) for image in some]

    return gallery(worst), gallery(best)


def _gallery_image(details: Details, found: ImageDetails, image: Image, paths: PicturePaths) -> GalleryImage:
    pixels, times = _load(paths, image), max(1, min(round(_LEAST / image.width), _HEIGHT // image.height))
    sums, quality = found.counts(details.score), max(found.panoptic_total().quality()["PQ"], 0)
    panels = (("ground truth", _annotations(details, found)), ("prediction", _predictions(details, found)))
    return GalleryImage(
        image.file_name,
        f"TP {sums.tp}, FP {sums.fp}, FN {sums.fn}, PQ {quality:.2f}",
        tuple((title, _jpeg(draw_regions(*_enlarged(pixels, regions, times)))) for title, regions in panels),
        {"instances-category": _categories(details, found), "instances-error": _kinds(details, found)},
    )


def _categories(details: Details, found: ImageDetails) -> frozenset[str]:
    """The categories that are annotated, or predicted at the score threshold."""
    overlaps = found.matches.overlaps
    numbers = [*overlaps.true_category, *overlaps.category[overlaps.score >= details.score]]
    return frozenset(details.inputs.names[int(number)] for number in numbers)


def _kinds(details: Details, found: ImageDetails) -> frozenset[str]:
    """The kinds of errors at the score threshold."""
    return frozenset(error.type for error in found.errors)


def _annotations(details: Details, found: ImageDetails) -> list[Drawn]:
    """Annotations, in the colours of true positives and false negatives at the score threshold."""
    overlaps, matched = found.matches.overlaps, found.matches.matched(details.score)
    regions = []
    for g, n in enumerate(overlaps.annotation_index.tolist()):
        annotation = details.inputs.truth["annotations"][n]
        name = details.inputs.names[int(overlaps.true_category[g])]
        if overlaps.crowd[g]:
            shade, name = _CROWD, f"{name} (crowd)"
        else:
            shade = _TP if matched[g] else _FN
        regions.append(Drawn(annotation.get("segmentation"), annotation["bbox"], shade, name))
    return regions


def _predictions(details: Details, found: ImageDetails) -> list[Drawn]:
    """Predictions above the score threshold, in the colours of true and false positives, with their error types."""
    overlaps = found.matches.overlaps
    errors = {error.detection: error.type for error in found.errors}
    regions = []
    for d in np.flatnonzero(overlaps.score >= details.score).tolist():
        result = details.inputs.results[int(overlaps.result_index[d])]
        segmentation = result.get("segmentation") if details.iou_type == "segm" else None
        tag = f"{details.inputs.names[int(overlaps.category[d])]} {overlaps.score[d]:.2f}"
        shade, text = (_TP, tag) if found.matches.tp[d] else (_CROWD, f"{tag}: in a crowd")
        if found.matches.fp[d]:
            shade, text = _FP, f"{tag}: {errors.get(d, 'false positive')}"
        regions.append(Drawn(segmentation, result["bbox"], shade, text))
    return regions


def _enlarged(pixels: Pixels, regions: Sequence[Drawn], times: int) -> tuple[Pixels, list[Drawn]]:
    """An image and the regions to be drawn on it, enlarged by a whole number."""
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


def pixel_gallery(shown: Sequence[LabelMaps], dataset: Dataset) -> list[GalleryImage]:
    """Images with their true and predicted labels, and the pixels where the two differ."""
    gallery = []
    for maps in shown:
        image, (truth, prediction) = maps.row.image, maps.unpacked()
        pixels = _load(dataset.paths, image)
        errors = (truth != prediction) & (truth != IGNORED)
        differ = pixels.copy()
        differ[errors] = (pixels[errors] * (1 - _OPACITY) + np.array(_FP) * _OPACITY).astype(np.uint8)
        gallery.append(
            GalleryImage(
                image.file_name,
                f"mIoU {maps.row.mIoU:.2f}, pixel accuracy {maps.row.pixel_accuracy:.0%}",
                (
                    ("ground truth", _jpeg(_painted(pixels, truth))),
                    ("prediction", _jpeg(_painted(pixels, prediction))),
                    ("errors", _jpeg(differ)),
                ),
                {"pixels-category": _names_of(dataset, truth, prediction)},
            )
        )
    return gallery


def _names_of(dataset: Dataset, *maps: npt.NDArray[np.uint8]) -> frozenset[str]:
    """The categories whose labels occur in label maps."""
    labels = set(np.unique(np.concatenate([each.ravel() for each in maps])).tolist())
    return frozenset(category.name for label, category in enumerate(dataset.categories, 1) if label in labels)


def label_colours(dataset: Dataset) -> list[tuple[str, str]]:
    """Category names and the colours of their labels in ``pixel_gallery``, as CSS."""
    return [(c.name, "rgb({}, {}, {})".format(*colour(n))) for n, c in enumerate(dataset.categories)]


def _painted(pixels: Pixels, labels: npt.NDArray[np.uint8]) -> Pixels:
    palette = np.zeros((256, 3))
    palette[1:IGNORED] = [colour(label - 1) for label in range(1, IGNORED)]
    mixed = (pixels * (1 - _OPACITY) + palette[labels] * _OPACITY).astype(np.uint8)
    return np.where(((labels > 0) & (labels != IGNORED))[..., None], mixed, pixels)


def _load(paths: PicturePaths, image: Image) -> Pixels:
    """The image's pixels, or grey ones if there is no such file or it has other dimensions."""
    path = find_image(paths, image)
    with contextlib.suppress(InputError):
        if path is not None:
            return load_resized(path, (image.height, image.width))
    return np.full((image.height, image.width, 3), 235, np.uint8)


def find_image(paths: PicturePaths, image: Image) -> Path | None:
    """The image's file; None where there is none."""
    path = paths.of(image)
    return path if path.is_file() else None


def _jpeg(pixels: Pixels) -> str:
    height, width = pixels.shape[:2]
    if (share := min(_WIDTH / width, _HEIGHT / height)) < 1:
        size = (max(1, round(width * share)), max(1, round(height * share)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    return base64.b64encode(bytes(data)).decode("ascii")
