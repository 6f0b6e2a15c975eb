"""Whether an exported file predicts what its source predicts: image by image, and several images at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from segkit.errors import SegkitError
from segkit.exporting.compare import PredictionDifference, compare, compare_maps
from segkit.exporting.conditioning import rounding_explains, without_suppression
from segkit.inference.adjust import as_tensors
from segkit.models.build import InstanceModel
from segkit.models.tensors import Prediction
from segkit.models.unet import UNet
from segkit.runtimes.exported import ExportedModel

Model = UNet | InstanceModel
_PLAIN = (0, 255, 64, 192)


def check(
    model: Model,
    exported: ExportedModel,
    images: Sequence[tuple[str, Tensor]],
    tolerance: float,
    paths: tuple[Path, Path],
) -> tuple[list[PredictionDifference], list[str]]:
    """Compare a model and a file on images.

    Args:
        model: The model.
        exported: The file.
        images: Named images.
        tolerance: The largest difference that is allowed.
        paths: Of the source and of the file, for messages.

    Returns:
        The differences, and the images that tell nothing: there, rounding alone makes a larger difference.

    Raises:
        SegkitError: They differ by more than the tolerance, or most images tell nothing.
    """
    source, out = paths
    cap = exported.card.settings.detections
    differences: list[PredictionDifference] = []
    unjudged: list[str] = []
    without = [] if isinstance(model, UNet) else _without_instances(model, images)
    for batch in [*_batches(images, at_once=exported.takes_batches), *without]:
        for (name, image), found in zip(batch, _found(exported, [image for _, image in batch]), strict=True):
            difference = _difference(model, found, name, image, tolerance, cap)
            if difference.within(tolerance):
                differences.append(difference)
            elif rounding_explains(difference, model, image, tolerance, cap):
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


def _batches(images: Sequence[tuple[str, Tensor]], *, at_once: bool) -> list[list[tuple[str, Tensor]]]:
    """Each image alone; and, where a file takes several at once, a batch of three that differ."""
    batches = [[each] for each in images]
    if at_once:
        name, image = images[0]
        three = {"first of three": image, "second of three": image.flip(-1), "third of three": image.flip(-2)}
        batches.append([(f"{name}, {what}", each) for what, each in three.items()])
    return batches


def _without_instances(model: InstanceModel, images: Sequence[tuple[str, Tensor]]) -> list[list[tuple[str, Tensor]]]:
    """A plain picture of the least size in which the model finds nothing: graphs may fail on what has no rows."""
    shape = min((image.shape for _, image in images), key=lambda shape: shape[-1] * shape[-2])
    with torch.inference_mode():
        for value in _PLAIN:
            image = torch.full(shape, value, dtype=torch.uint8)
            if not len(model([image])[0]["scores"]):
                return [[(f"a picture of nothing but {value}", image)]]
    return []


def _found(exported: ExportedModel, images: Sequence[Tensor]) -> Sequence[Prediction | Tensor]:
    """What the file predicts: instances, or of a U-Net maps."""
    if exported.card.framing.kind == "semantic":
        return [torch.from_numpy(each) for each in exported.maps(images)]
    return [as_tensors(each) for each in exported(images)]


def _difference(
    model: Model, found: Prediction | Tensor, name: str, image: Tensor, tolerance: float, cap: int
) -> PredictionDifference:
    with torch.inference_mode():
        if isinstance(model, UNet):
            return compare_maps(name, model.maps([image])[0], cast(Tensor, found), model.settings.instances)
        both: tuple[Prediction, Prediction] = model([image])[0], cast(Prediction, found)
    difference = compare(name, image, *both, tolerance=tolerance, cap=cap)
    if difference.unmatched:
        candidates = without_suppression(model, image)
        difference = compare(name, image, *both, tolerance=tolerance, cap=cap, candidates=candidates)
    return difference


def _describe(difference: PredictionDifference) -> str:
    return (
        f"boxes by {difference.boxes:.1e} of the picture, scores by {difference.scores:.1e}, masks by "
        f"{difference.masks:.1e}, {difference.unmatched} instances in only one of them"
    )
