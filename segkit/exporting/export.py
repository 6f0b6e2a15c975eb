"""Export a model, and keep the file only if it predicts what its source predicts."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from segkit.config.export import ExportConfig
from segkit.data.files import remove_left_over
from segkit.data.records import Dataset
from segkit.errors import InputError
from segkit.exporting.about import metadata_of
from segkit.exporting.check import Model, check
from segkit.exporting.compare import PredictionDifference
from segkit.exporting.graphs import graph_of
from segkit.exporting.pictures import at_size, dataset_for, images_for
from segkit.exporting.score_check import ScorePair, score_of
from segkit.exporting.shrink import in_8_bits, in_half, simplified
from segkit.exporting.write import check_format, write
from segkit.loading.calibration import calibration_images
from segkit.models.card import ModelCard
from segkit.models.tensors import Prediction
from segkit.progress import SILENT, Progress
from segkit.runs.checkpoint import load_model
from segkit.runs.find import find_checkpoint
from segkit.runtimes.files import SUFFIXES, format_of, open_exported


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was exported.

    Attributes:
        source: The checkpoint.
        out: The exported file.
        format: Its format.
        size: In bytes, with the file of its weights where that is another.
        differences: Between the predictions of the two, by image.
        real_pictures: Whether images of a dataset were compared, not only made-up ones.
        unjudged: The images on which rounding alone makes a larger difference than is allowed.
        takes_batches: Whether the file takes several images at once.
        precision: Of the weights in it.
        score: Its score beside that of its source, where it was measured.
        left_out: The parts that are in 32 bits in a file in 8 bits.
        nodes: Their number before and after the graph was simplified.
        simplify: Whether that was asked for; it is not done where it changes outputs.
    """

    source: Path
    out: Path
    format: str
    size: int
    differences: tuple[PredictionDifference, ...]
    real_pictures: bool
    unjudged: tuple[str, ...] = ()
    takes_batches: bool = True
    precision: str = "fp32"
    score: ScorePair | None = None
    left_out: tuple[str, ...] = ()
    nodes: tuple[int, int] | None = None
    simplify: bool = False

    def to_json(self) -> dict[str, Any]:
        """What ``export --json`` prints."""
        return {
            "source": str(self.source),
            "out": str(self.out),
            "format": self.format,
            "batches": self.takes_batches,
            "bytes": self.size,
            "precision": self.precision,
            "real_pictures": self.real_pictures,
            "score": None if self.score is None else asdict(self.score),
            "left_out": list(self.left_out),
            "nodes": self.nodes,
            "differences": [asdict(d) for d in self.differences],
            "unjudged": list(self.unjudged),
        }


def export(config: ExportConfig, progress: Progress = SILENT) -> ExportSummary:
    """Write a model in another format, and compare the predictions of the two.

    Raises:
        InputError: There is no such model, or the format cannot be written here.
        SegkitError: The file differs from its source by more than the tolerance; it is not kept.
    """
    source = find_checkpoint(config.model)
    if format_of(source) is not None:
        raise InputError(f"{source}: is an exported file already", "name the run, or its checkpoint")
    model, card = load_model(source, torch.device("cpu"))
    check_format(config.format, card.framing.kind, config.exporter)
    _check_8_bits(config, card, source)
    _check_finite(model, source)
    out = _out(config, source)
    progress.start(f"exporting {out.name}", None)
    with _checked_file(out) as unchecked:
        graph = graph_of(model, card)
        precision = "int8" if config.int8 else "fp16" if config.half else "fp32"
        metadata = metadata_of(source, card, graph, precision)
        dataset = dataset_for(source, config.data)
        images, are_real = images_for(dataset, card)
        in_half_at_once = config.half and config.format != "onnx"
        height, width = images[0][1].shape[-2:]
        write(
            config.format, graph, metadata, unchecked,
            half=in_half_at_once, size=(height, width), exporter=config.exporter,
        )  # fmt: skip
        nodes = simplified(unchecked, [image for _, image in images]) if config.simplify else None
        most = config.most_difference_in_half if in_half_at_once else config.most_difference
        exported = open_exported(unchecked, trust=True)
        if exported.size is not None:
            images = at_size(images, exported.size)
        found: tuple[list[PredictionDifference], list[str]] = ([], [])
        if not (card.quantised and config.int8):  # judged by score: sums that differ in the last bit are rounded apart
            found = check(cast(Model, model), exported, images, most, (source, out))
        progress.done()
        if config.half and config.format == "onnx":
            in_half(unchecked)
            exported = open_exported(unchecked)
            found = check(cast(Model, model), exported, images, config.most_difference_in_half, (source, out))
        score, left_out = _scored(config, cast(Model, model), card, dataset, unchecked, out, progress)
        size = sum(each.stat().st_size for each in unchecked.parent.iterdir())
    return ExportSummary(
        source,
        out,
        config.format,
        size,
        tuple(found[0]),
        are_real,
        tuple(found[1]),
        exported.takes_batches,
        precision,
        score,
        left_out,
        nodes,
        config.simplify,
    )


def _scored(
    config: ExportConfig,
    model: Model,
    card: ModelCard,
    dataset: Dataset | None,
    unchecked: Path,
    out: Path,
    progress: Progress,
) -> tuple[ScorePair | None, tuple[str, ...]]:
    """Put a file in 8 bits where that is asked for, and score it beside its source.

    Returns:
        The scores, where they are needed; and the parts that are not in 8 bits.

    Raises:
        InputError: There is no dataset to score on.
        SegkitError: The file scores less than it may.
    """
    if not config.int8 and config.data is None:
        return None, ()
    if dataset is None:
        raise InputError("--int8: a file in 8 bits is judged by its score, and no dataset is here", "name one: --data")

    def predict(images: Sequence[Tensor]) -> list[Prediction]:
        predictions: list[Prediction] = model(images)
        return predictions

    name, before = score_of(predict, card, dataset, progress)
    left_out: tuple[str, ...] = ()
    if config.int8 and not card.quantised:
        images = None if config.calibrate is None else calibration_images(config.calibrate, card)
        left_out = in_8_bits(unchecked, images, dataset, before - config.most_loss, progress)
    pair = ScorePair(
        name, len(dataset.images), before, score_of(open_exported(unchecked, trust=True), card, dataset, progress)[1]
    )
    pair.check(config.most_loss, out)
    return pair, left_out


def _out(config: ExportConfig, source: Path) -> Path:
    """The file to write.

    Raises:
        InputError: Its name does not end as files of the format do, by which it is known afterwards.
    """
    suffix = SUFFIXES[config.format]
    out = config.out or source.with_name(f"model{suffix}")
    if out.suffix != suffix:
        raise InputError(
            f"--out {out}: files of the format {config.format} end with {suffix}", f"name it {out.stem}{suffix}"
        )
    return out


@contextmanager
def _checked_file(out: Path) -> Iterator[Path]:
    """A file in a temporary folder beside ``out``, which becomes ``out`` when the block ends; with those beside it.

    If the block fails, the folder is removed and ``out`` stays as it was.
    """
    folder = out.with_name(f".{out.name}.writing")
    remove_left_over(folder)
    folder.mkdir(parents=True)
    try:
        yield folder / out.name
        files = sorted(folder.iterdir(), key=lambda each: each.name == out.name)  # the one that names the others last
        for each in files:
            each.replace(out.with_name(each.name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_8_bits(config: ExportConfig, card: ModelCard, source: Path) -> None:
    """Check that a model that was trained in 8 bits is written in 8 bits, with the ranges that it was trained with.

    Raises:
        InputError: Something else is asked for.
    """
    if not card.quantised or config.format == "safetensors":
        return
    if config.format != "onnx" or not config.int8:
        raise InputError(
            f"{source}: was trained to compute in 8 bits", "write it so: --format onnx --int8; or export another run"
        )
    if config.calibrate is not None:
        raise InputError(f"--calibrate: {source} has the ranges that it was trained with", "leave it out")


def _check_finite(model: nn.Module, source: Path) -> None:
    """Check that a model's weights are numbers: of others no prediction could be compared.

    Raises:
        InputError: Some are not.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{source}: {name} has values that are not finite", "export another checkpoint of the run")
