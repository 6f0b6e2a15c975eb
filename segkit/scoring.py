"""A model's predictions for a dataset, and their score: the same code inside training and after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segkit.dataset import Dataset, Result
from segkit.device import Ranks, autocast
from segkit.evaluate.instances import evaluate_instances, max_dets_needed
from segkit.evaluate.metrics import Metrics
from segkit.evaluate.semantic import Confusion, paint
from segkit.loading import Pictures, batches_of, evaluation_batches, make_loader
from segkit.models.card import ModelCard
from segkit.progress import SILENT, Progress
from segkit.tensors import Prediction, labels_of, prediction_to_results

Predict = Callable[[Sequence[Tensor]], list[Prediction]]


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions and their score."""

    results: list[Result]
    metrics: Metrics


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
    iou_types: Sequence[str] | None = None,
    semantic: bool | None = None,
    max_dets: str = "auto",
    progress: Progress = SILENT,
    description: str = "evaluating",
) -> Scored:
    """Predict every picture of a dataset once over all ranks, and score the predictions.

    Args:
        predict: The model, in evaluation mode.
        card: What it is.
        dataset: Pictures and truth; its categories must be the model's.
        ranks: Who shares the work; all get the same answer.
        dtype: What autocast computes in.
        batch: Pictures at once.
        workers: Loader processes.
        iou_types: Which of segm and bbox; None: what the model predicts.
        semantic: Score pixels too; None: if the model labels pixels.
        max_dets: ``auto`` or a number.
        progress: Who is told how far it is.
        description: What to call it.
    """
    pixels = card.model == "unet" if semantic is None else semantic
    kinds = default_iou_types(card) if iou_types is None else tuple(iou_types)
    confusion = Confusion(len(card.categories) + 1)
    by_image, labels = dataset.annotations_of(), labels_of(dataset.categories)
    pictures = Pictures(dataset, card.framing, seed=0, augment=None, boxes_will_do=True)
    keys = evaluation_batches(len(pictures), batch, ranks.rank, ranks.world_size)
    loader = make_loader(pictures, keys, workers=workers, pin_memory=False)
    results: list[Result] = []
    progress.start(description, len(pictures))
    for samples in batches_of(loader):
        with autocast(ranks.device, dtype):
            predictions = predict([sample.image.to(ranks.device) for sample in samples])
        for sample, prediction in zip(samples, predictions, strict=True):
            height, width = sample.image.shape[-2:]
            results += prediction_to_results(prediction, sample.record, height, width, dataset.categories)
            if pixels:
                truth = paint(sample.record, by_image.get(sample.record.id, []), labels, dataset.uncovered)
                confusion.add(truth, prediction["semantic"])
        progress.advance(len(samples) * ranks.world_size)
    progress.done()
    gathered = ranks.gather((results, confusion.counts))
    results = sorted((r for part, _ in gathered for r in part), key=lambda r: str(r.image_id))
    confusion.counts = np.sum([counts for _, counts in gathered], axis=0)
    cap = max_dets_needed(dataset, max_dets)
    numbers = {kind: evaluate_instances(dataset, results, kind, cap) for kind in kinds}  # type: ignore[arg-type]
    warnings = [] if dataset.annotations else ["the split has no annotations: there is nothing to score"]
    most = max((len(each) for each in by_image.values()), default=0)
    if "bbox" in default_iou_types(card) and most > card.settings.detections:
        warnings.append(f"an image has {most} instances, but the model predicts at most {card.settings.detections}")
    return Scored(
        results,
        Metrics(
            images=len(dataset.images),
            max_dets=cap,
            segm=numbers.get("segm"),
            bbox=numbers.get("bbox"),
            semantic=confusion.metrics(dataset) if pixels else None,
            warnings=warnings,
        ),
    )


def default_iou_types(card: ModelCard) -> tuple[str, ...]:
    """What a model's instances can be compared by; of a dataset without background they are no instances."""
    match card.model:
        case "maskrcnn":
            return ("segm", "bbox")
        case "fasterrcnn":
            return ("bbox",)
        case _:
            return () if card.uncovered == "ignore" else ("segm",)
