"""A model's predictions for a dataset, and their score: the same code inside training and after it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from segkit.data.records import Annotation, Dataset, Result
from segkit.errors import Interrupted, SegkitError
from segkit.evaluate.coco.engine import EngineName
from segkit.evaluate.coco.score import score_results
from segkit.evaluate.coco.streaming import Stream
from segkit.evaluate.metrics import Metrics
from segkit.evaluate.pixels.confusion import paint
from segkit.evaluate.pixels.per_picture import PixelScores
from segkit.inference.batches import InHalves, Predict, good
from segkit.loading.dataset import make_loader, pictures_for_evaluation
from segkit.loading.sampler import evaluation_batches
from segkit.models.card import ModelCard
from segkit.models.tensors import labels_of, prediction_to_results
from segkit.progress import SILENT, Progress
from segkit.runtime.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Scored:
    """A model's score; where the reason was wanted, its predictions too."""

    metrics: Metrics
    results: list[Result]
    pixels: PixelScores | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be scored.

    Attributes:
        kinds: Which of segm, bbox and boundary; None: what the model predicts.
        pixels: Score pixels; None: if the model labels pixels.
        max_dets: ``auto`` or a number.
        engine: Who computes AP.
        explains: Keep what reasons are found in.
        draws: Bootstrap draws of the pictures for pixel scores.
        lvis: The annotation file, where LVIS's federated AP is wanted.
        shows: Ids of images whose predictions are kept to be shown.
    """

    kinds: tuple[str, ...] | None = None
    pixels: bool | None = None
    max_dets: str = "auto"
    engine: EngineName = "fast"
    explains: bool = False
    draws: int = 0
    lvis: Path | None = None
    shows: frozenset[int] = frozenset()


@torch.inference_mode()
def score(
    predict: Predict,
    card: ModelCard,
    dataset: Dataset,
    ranks: Ranks,
    *,
    dtype: torch.dtype,
    batch: int,
    workers: int = 0,
    wanted: Wanted = Wanted(),
    progress: Progress = SILENT,
    description: str = "evaluating",
    skip_bad: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Scored:
    """Predict every picture of a dataset once over all ranks, and score the predictions as they come.

    Where memory runs out, fewer pictures are predicted at once.

    Args:
        predict: The model, in evaluation mode.
        card: What it is.
        dataset: Pictures and truth; its categories must be the model's.
        ranks: Who shares the work; all get the same answer.
        dtype: What autocast computes in.
        batch: Pictures at once.
        workers: Loader processes.
        wanted: What is to be scored.
        progress: Who is told how far it is.
        description: What to call it.
        skip_bad: Count nothing found in a picture that cannot be loaded, and warn, instead of ending.
        stop: Whether somebody asked to stop; it is heard between batches.

    Raises:
        SegkitError: On all ranks: a picture cannot be loaded, or is too large for the memory there is.
        Interrupted: On all ranks: one was asked to stop.
    """
    kinds = default_iou_types(card) if wanted.kinds is None else wanted.kinds
    # These two are computed of everything at once, and then so is the rest.
    in_the_end = "boundary" in kinds or wanted.lvis is not None
    as_they_come = tuple(kind for kind in ("segm", "bbox") if kind in kinds and not in_the_end)
    stream = Stream(dataset, as_they_come, wanted.max_dets, wanted.engine)
    pixels = None
    if card.model == "unet" if wanted.pixels is None else wanted.pixels:
        pixels = PixelScores(dataset, draws=wanted.draws, explains=wanted.explains, edges="boundary" in kinds)
    by_image, labels = dataset.annotations_of(), labels_of(dataset.categories)
    pictures = pictures_for_evaluation(dataset, card)
    keys = evaluation_batches(len(pictures), batch, ranks.rank, ranks.world_size)
    loader = make_loader(pictures, keys, workers=workers, pin_memory=False)
    in_halves = InHalves(predict, ranks, dtype, batch, progress)
    kept: list[Result] = []
    bad: list[str] = []
    missing = {dataset.images[key.image].id: dataset.images[key.image] for some in keys for key in some}
    failure: SegkitError | None = None
    progress.start(description, len(pictures))
    try:
        for samples in good(loader, bad if skip_bad else None):
            if stop():
                raise Interrupted("interrupted while evaluating")
            results = []
            for sample, prediction in zip(samples, in_halves(samples), strict=True):
                height, width = sample.image.shape[-2:]
                results += prediction_to_results(prediction, sample.record, height, width, dataset.categories)
                if pixels is not None:
                    truth = paint(sample.record, by_image.get(sample.record.id, []), labels, dataset.uncovered)
                    pixels.add(sample.record, truth, prediction["semantic"])
                del missing[sample.record.id]
            stream.add([sample.record for sample in samples], results)
            everything = wanted.explains or in_the_end
            kept += results if everything else [r for r in results if r.image_id in wanted.shows]
            progress.advance(len(samples) * ranks.world_size)
        if missing:
            stream.add(list(missing.values()), [])
    except SegkitError as error:  # the other ranks wait to hear of it
        failure = error
    progress.done()
    ranks.raise_together(failure)
    gathered = ranks.gather((stream.parts, kept, pixels.confusion.counts if pixels is not None else 0, bad))
    kept = sorted((r for _, part, _, _ in gathered for r in part), key=lambda r: str(r.image_id))
    if in_the_end:
        metrics = score_results(dataset, kept, kinds, wanted.max_dets, wanted.engine, lvis=wanted.lvis)
    else:
        metrics = stream.finish([parts for parts, _, _, _ in gathered])
    if pixels is not None:
        pixels.confusion.counts = np.sum([counts for _, _, counts, _ in gathered], axis=0)
        metrics = replace(metrics, semantic=pixels.confusion.metrics(dataset))
    unread = [warning for _, _, _, part in gathered for warning in part]
    warnings = [*metrics.warnings, *unread, *_warnings(dataset, card, by_image)]
    return Scored(replace(metrics, warnings=list(dict.fromkeys(warnings))), kept, pixels)


def _warnings(dataset: Dataset, card: ModelCard, by_image: dict[int, list[Annotation]]) -> list[str]:
    warnings = [] if dataset.annotations else ["the data has no annotations: there is nothing to score"]
    most = max((len(each) for each in by_image.values()), default=0)
    if "bbox" in default_iou_types(card) and most > card.settings.detections:
        warnings.append(f"an image has {most} instances, but the model predicts at most {card.settings.detections}")
    return warnings


def default_iou_types(card: ModelCard) -> tuple[str, ...]:
    """What a model's instances can be compared by; of a dataset without background they are no instances."""
    match card.model:
        case "maskrcnn":
            return ("segm", "bbox")
        case "fasterrcnn":
            return ("bbox",)
        case _:
            return () if card.uncovered == "ignore" else ("segm",)
