"""Export a model, and keep the file only if it predicts what its source predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segkit.config.export import ExportConfig
from segkit.data.channels import resized
from segkit.data.files import temporary_file
from segkit.data.records import Dataset
from segkit.errors import InputError, SegkitError
from segkit.export.compare import PredictionDifference, compare, compare_maps
from segkit.export.conditioning import rounding_decides, without_suppression
from segkit.export.onnx import write_onnx
from segkit.export.onnx_model import OnnxModel
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import open_split, split_file
from segkit.formats.pictures.framed import load_framed
from segkit.loading.dataset import load_for_model
from segkit.models.card import ModelCard
from segkit.models.detector import Detector
from segkit.models.unet import UNet
from segkit.progress import SILENT, Progress
from segkit.runs.checkpoint import find_checkpoint, load_model
from segkit.runs.folder import dataset_of_run

Model = UNet | Detector
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was exported.

    Attributes:
        source: The checkpoint.
        out: The exported file.
        size: In bytes.
        differences: Between the predictions of the two, by image.
        real_pictures: Whether images of a dataset were compared, not only made-up ones.
        unjudged: The images on which rounding alone makes a larger difference than is allowed.
    """

    source: Path
    out: Path
    size: int
    differences: tuple[PredictionDifference, ...]
    real_pictures: bool
    unjudged: tuple[str, ...] = ()


def export(config: ExportConfig, progress: Progress = SILENT) -> ExportSummary:
    """Write a model in another format, and compare the predictions of the two.

    Raises:
        InputError: There is no such model.
        SegkitError: The file differs from its source by more than the tolerance; it is not kept.
    """
    source = find_checkpoint(config.model)
    if source.suffix == ".onnx":
        raise InputError(f"{source}: is an exported file already")
    model, card = load_model(source, torch.device("cpu"))
    _check_finite(model, source)
    out = config.out or source.with_name("model.onnx")
    progress.start(f"exporting {out.name}", None)
    out.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(out) as unchecked:
        write_onnx(model, card, unchecked)
        images, are_real = _images(source, card, config.data)
        differences, unjudged = _compare(
            cast(Model, model), OnnxModel(unchecked), card, images, config.tolerance, (source, out)
        )
    progress.done()
    return ExportSummary(source, out, out.stat().st_size, tuple(differences), are_real, tuple(unjudged))


def _compare(
    model: Model,
    exported: OnnxModel,
    card: ModelCard,
    images: Sequence[tuple[str, Tensor]],
    tolerance: float,
    paths: tuple[Path, Path],
) -> tuple[list[PredictionDifference], list[str]]:
    """Compare the two models on images.

    Returns:
        The differences, and the images that tell nothing: there, rounding alone makes a larger difference.

    Raises:
        SegkitError: They differ by more than the tolerance, or most images tell nothing.
    """
    source, out = paths
    cap, differences, unjudged = card.settings.detections, [], []
    for name, image in images:
        difference = _difference(model, exported, name, image, tolerance, cap)
        if difference.within(tolerance):
            differences.append(difference)
        elif rounding_decides(model, name, image, tolerance, cap):
            unjudged.append(name)
        else:
            raise SegkitError(
                f"{out}: differs from {source} on {name}: {_describe(difference)}",
                f"nothing was written; accept more with --tolerance (now {tolerance:g})",
            )
    if len(unjudged) > len(differences):
        raise SegkitError(
            f"{out}: cannot be compared with {source}: rounding alone changes the predictions of {', '.join(unjudged)}",
            f"nothing was written; is the model trained? accept more with --tolerance (now {tolerance:g})",
        )
    return differences, unjudged


def _difference(
    model: Model, exported: OnnxModel, name: str, image: Tensor, tolerance: float, cap: int
) -> PredictionDifference:
    with torch.inference_mode():
        if isinstance(model, UNet):
            maps = model.maps([image])[0], exported.maps([image])[0]
            return compare_maps(name, *maps, model.settings.instances)
        found = model([image])[0], exported([image])[0]
    difference = compare(name, image, *found, tolerance=tolerance, cap=cap)
    if difference.unmatched:
        candidates = without_suppression(model, image)
        difference = compare(name, image, *found, tolerance=tolerance, cap=cap, candidates=candidates)
    return difference


def _check_finite(model: nn.Module, source: Path) -> None:
    """Check that a model's weights are numbers: of others no prediction could be compared.

    Raises:
        InputError: Some are not.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{source}: {name} has values that are not finite", "export another checkpoint of the run")


def _describe(difference: PredictionDifference) -> str:
    return (
        f"boxes by {difference.boxes:.1e} of the picture, scores by {difference.scores:.1e}, masks by "
        f"{difference.masks:.1e}, {difference.unmatched} instances in only one of them"
    )


def _images(source: Path, card: ModelCard, data: Path | None) -> tuple[list[tuple[str, Tensor]], bool]:
    """Named images to compare on, and whether they are from a dataset.

    They show many, one and no instance where the dataset has such images, a plain colour, and other sizes.
    """
    dataset = _dataset(source, data)
    chosen = _typical(dataset, card) if dataset is not None else []
    is_real = bool(chosen)
    if not is_real:
        noise = np.random.default_rng(0).integers(0, 256, (24, 32, card.channels), dtype=np.uint8)
        chosen = [("made-up blobs", resized(noise, 240, 320, cv2.INTER_CUBIC))]
    chosen.append(("a plain grey picture", np.full((240, 320, card.channels), 114, np.uint8)))
    images = [(name, load_for_model(pixels, card.framing)) for name, pixels in chosen]
    name, first = chosen[0]
    height, width = images[0][1].shape[-2:]
    # Odd sides are padded; the least ones leave a single cell of the deepest map.
    for what, size in (
        ("at another size", (round(0.55 * height) | 1, round(0.7 * width) | 1)),
        ("as a strip", (1, 97)),
    ):
        other = resized(first, *size, cv2.INTER_AREA)
        images.append((f"{name} {what}", torch.from_numpy(other).permute(2, 0, 1).contiguous()))
    return images, is_real


def _typical(dataset: Dataset, card: ModelCard) -> list[tuple[str, Pixels]]:
    """Images of a dataset with many, with one and with no instance, where there are such."""
    by_image = dataset.annotations_of()
    counts = {image.id: len(by_image.get(image.id, ())) for image in dataset.images}
    by_count = sorted(dataset.images, key=lambda image: counts[image.id])
    groups = {
        "many instances": by_count[-1:],
        "one instance": [image for image in by_count if counts[image.id] == 1][:1],
        "no instance": [image for image in by_count if counts[image.id] == 0][:1],
    }
    return [
        (f"{image.file_name} ({what})", load_framed(dataset.paths.of(image), (image.height, image.width), card.levels))
        for what, images in groups.items()
        for image in images
    ]


def _dataset(source: Path, data: Path | None) -> Dataset | None:
    """The dataset that was named, else the run's where it is still there; the validation split if it has one."""
    if data is not None:
        return open_split(data, "val")
    trained_on = dataset_of_run(source)
    file = trained_on and (split_file(trained_on, "val") or split_file(trained_on, "train"))
    return read_coco(file) if file else None
