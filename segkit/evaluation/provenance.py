"""What an evaluation is of: model or results, data, options, versions, date; and a paragraph that can be quoted."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segkit.config.evaluate import EvalConfig
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.metrics import Metrics
from segkit.units import counted, today

_OPTIONS = (
    "task",
    "iou",
    "max_dets",
    "lvis",
    "areas",
    "as_tool",
    "promise",
    "score",
    "bootstrap",
    "engine",
    "batch",
    "images_dir",
)
_PACKAGES = ("segkit", "numpy", "pycocotools", "ultrafast-pycocotools", "opencv-python", "torch", "torchvision")


def with_provenance(config: EvalConfig, evaluation: Evaluation) -> Evaluation:
    """The evaluation, whose metrics say what they are of."""
    about = {
        "subject": _file(Path(evaluation.subject)) | {k: v for k, v in evaluation.model.items() if v is not None},
        "data": _file(evaluation.truth)
        | {
            "split": config.split if evaluation.truth.stem == config.split else None,
            "images": evaluation.metrics.images,
            "annotations": evaluation.num_annotations,
        },
        "options": {name: _plain(getattr(config, name)) for name in _OPTIONS},
        "versions": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "date": today(),
    }
    return replace(evaluation, metrics=replace(evaluation.metrics, about=about))


def _file(path: Path) -> dict[str, Any]:
    """The path of a file, and a digest of its content; None where it is no file any more."""
    return {"file": str(path), "digest": digest_of(path)}


def digest_of(path: Path) -> str | None:
    """A digest of the content of a file; None where it is no file."""
    if not path.is_file():
        return None
    hashed = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def methods_paragraph(metrics: Metrics) -> str:
    """What was computed and how, in sentences for the methods section of a paper; docs/scores.md has the sources."""
    return " ".join(_sentences(metrics))


def _sentences(metrics: Metrics) -> Iterator[str]:
    about = metrics.about or {"versions": {}, "data": {}}
    data, details = about["data"], metrics.details
    images = counted(metrics.images, "image", "images")
    if data.get("annotations"):
        images += f" with {counted(data['annotations'], 'annotated instance', 'annotated instances')}"
    yield f"Predictions were evaluated on {images} with segkit {_version('segkit')}."
    kinds = [
        name
        for part, name in (("segm", "masks"), ("bbox", "boxes"), ("boundary", "masks and their contours"))
        if getattr(metrics, part) is not None
    ]
    if kinds:
        yield (
            f"Average precision (AP) of {' and of '.join(kinds)} is that of COCO (Lin et al., 2014), the mean over IoU "
            f"thresholds from 0.50 to 0.95 and over categories, for at most 100 detections per image and category, "
            f"computed with {metrics.engine}."
        )
    if metrics.boundary is not None:
        yield "Contours are compared by boundary IoU (Cheng et al., 2021), with a width of 2 % of the image diagonal."
    if details is not None:
        yield (
            f"Precision, recall and F1 count detections with a confidence of at least {details['score']:g} over all "
            "categories; a detection is a true positive if its IoU with an instance of its category that is not taken "
            "is at least 0.5. Panoptic quality (Kirillov et al., 2019) is the mean over categories. Error types follow "
            "TIDE (Bolya et al., 2020)."
        )
    if metrics.semantic is not None:
        yield (
            "Pixel scores (IoU, F1) are computed from the pixels of all images together; mIoU is the mean over the "
            "classes that occur in ground truth or prediction."
        )
    has_intervals = details is not None and details.get("confidence")
    if has_intervals or (metrics.semantic is not None and metrics.semantic.mIoU_interval is not None):
        yield (
            "95 % confidence intervals are from a jackknife over images, corrected for the bias of few images, with "
            "Student's t on the logit scale."
        )
    if metrics.compare is not None:
        yield (
            "Two models were compared on the same images by random changes of sign of each image's share of the "
            "difference (Fisher's randomisation test); the interval of the difference is the inversion of that test."
        )
