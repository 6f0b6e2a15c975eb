"""A model's predictions for a dataset, and their score: the same code inside training and after it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from segkit.choices import ARCHITECTURES, EngineName
from segkit.data.records import Dataset, Result
from segkit.errors import Interrupted, SegkitError
from segkit.evaluate.coco.score import score_results
from segkit.evaluate.coco.streaming import Stream
from segkit.evaluate.metrics import Metrics
from segkit.evaluate.pixels.confusion import paint
from segkit.evaluate.pixels.per_image import PixelScores
from segkit.inference.folds import Predictor
from segkit.loading.loader import load_batches
from segkit.loading.sampler import evaluation_batches
from segkit.loading.whole import Sample, WholePictures, size_for_model
from segkit.models.card import ModelCard
from segkit.models.sizes import padded_frame
from segkit.models.tensors import ArrayPrediction, Prediction, labels_of, prediction_to_results
from segkit.progress import SILENT, Progress
from segkit.runtime.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Scored:
    """A model's score, with the results and pixel scores that were asked for."""

    metrics: Metrics
    results: list[Result]
    pixels: PixelScores | None


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What is scored, and what is kept.

    Attributes:
        iou_types: Any of segm, bbox and boundary; None: those that the model predicts.
        pixels: Score pixels; None: if the model predicts a label for every pixel.
        max_dets: ``auto`` or a number.
        engine: What computes AP.
        details: Keep all results, and pixel scores by image.
        intervals: Keep what the confidence intervals of pixel scores need.
        lvis: The annotation file, where LVIS's federated AP is wanted.
        keep_results_of: Ids of images whose results are kept without ``details``.
        workers: Processes that load images.
        skip_bad: Count an image that cannot be loaded as one without predictions, and warn, instead of raising.
        areas: Edges of size classes that are scored besides COCO's.
    """

    iou_types: tuple[str, ...] | None = None
    pixels: bool | None = None
    max_dets: str = "auto"
    engine: EngineName = "fast"
    details: bool = False
    intervals: bool = False
    lvis: Path | None = None
    keep_results_of: frozenset[int] = frozenset()
    workers: int = 0
    skip_bad: bool = False
    areas: tuple[float, ...] = ()


def score(
    predictor: Predictor,
    card: ModelCard,
    dataset: Dataset,
    ranks: Ranks,
    options: ScoreOptions = ScoreOptions(),
    progress: Progress = SILENT,
    should_stop: Callable[[], bool] = lambda: False,
) -> Scored:
    """Predict every image of a dataset once over all ranks, and score the predictions batch by batch.

    Args:
        predictor: Predicts batches, in evaluation mode.
        card: The model card.
        dataset: Images and ground truth; its categories must be the model's.
        ranks: They share the images; all get the same score.
        options: What is scored.
        progress: Shows how many images are done.
        should_stop: Asked between batches.

    Raises:
        SegkitError: On all ranks: an image cannot be loaded, or needs more memory than there is.
        Interrupted: On all ranks: one of them should stop.
    """
    scores = _RankScores(card, dataset, options)
    pictures = WholePictures(dataset, card.framing, card.levels)
    keys = evaluation_batches(_frames(dataset, card), predictor.batch, ranks.rank, ranks.world_size)
    unscored = {image.id: image for image in (dataset.images[key.image] for batch in keys for key in batch)}
    unreadable: list[str] = []
    failure: SegkitError | None = None
    progress.start("evaluating", len(pictures))
    try:
        with closing(load_batches(pictures, keys, workers=options.workers, warn=progress.note)) as batches:
            for samples in _loaded(batches, unreadable if options.skip_bad else None):
                if should_stop():
                    raise Interrupted("interrupted while evaluating")
                names = [sample.record.file_name for sample in samples]
                scores.add(samples, predictor([sample.image for sample in samples], names))
                for sample in samples:
                    del unscored[sample.record.id]
                progress.advance(len(samples) * ranks.world_size)
        scores.stream.add(list(unscored.values()), [])  # without predictions
    except SegkitError as error:  # raised below, on all ranks: the others would wait for this one
        failure = error
    progress.done()
    ranks.raise_together(failure)
    return scores.gather(ranks, unreadable)


def _frames(dataset: Dataset, card: ModelCard) -> list[tuple[int, int]]:
    """The frame that each image of a dataset is padded to."""
    return [padded_frame(*size_for_model(image.height, image.width, card.framing)) for image in dataset.images]


def _loaded(loader: Iterable[list[Sample | SegkitError]], warnings: list[str] | None) -> Iterator[list[Sample]]:
    """The samples of each batch; errors are added to ``warnings``, or raised where it is None."""
    for batch in loader:
        for error in (each for each in batch if isinstance(each, SegkitError)):
            if warnings is None:
                raise error
            warnings.append(f"{error.message}: counted as nothing found")
        if samples := [each for each in batch if isinstance(each, Sample)]:
            yield samples


class _RankScores:
    """The scores of the images that one rank has predicted so far."""

    def __init__(self, card: ModelCard, dataset: Dataset, options: ScoreOptions) -> None:
        self._card, self._dataset, self._options = card, dataset, options
        self._iou_types = default_iou_types(card) if options.iou_types is None else options.iou_types
        # Boundary IoU and LVIS's AP are computed from all results at once, and then so are the others.
        self._at_the_end = "boundary" in self._iou_types or options.lvis is not None
        by_batch = tuple(kind for kind in ("segm", "bbox") if kind in self._iou_types and not self._at_the_end)
        self.stream = Stream(dataset, by_batch, options.max_dets, options.engine, options.areas)
        self._pixels: PixelScores | None = None
        if ARCHITECTURES[card.model].pixels if options.pixels is None else options.pixels:
            self._pixels = PixelScores(
                dataset,
                intervals=options.intervals,
                details=options.details,
                boundary="boundary" in self._iou_types,
            )
        self._annotations, self._labels = dataset.annotations_of(), labels_of(dataset.categories)
        self._kept: list[Result] = []
        self._limit = card.settings.detections if card.framing.kind == "instances" else None
        self._full = 0  # images in which the model found as many instances as it may

    def add(self, samples: Sequence[Sample], predictions: Sequence[Prediction | ArrayPrediction]) -> None:
        """Score a batch."""
        dataset, results = self._dataset, []
        for sample, prediction in zip(samples, predictions, strict=True):
            image, (height, width) = sample.record, sample.image.shape[-2:]
            self._full += len(prediction["boxes"]) == self._limit
            results += prediction_to_results(
                prediction, image, height, width, dataset.categories, aligned_masks=self._card.settings.aligned_masks
            )
            if self._pixels is not None:
                truth = paint(image, self._annotations.get(image.id, []), self._labels, dataset.uncovered)
                self._pixels.add(image, truth, prediction["semantic"])
        self.stream.add([sample.record for sample in samples], results)
        keep_all = self._options.details or self._at_the_end
        self._kept += results if keep_all else [r for r in results if r.image_id in self._options.keep_results_of]

    def gather(self, ranks: Ranks, unreadable: list[str]) -> Scored:
        """The score of the images of all ranks; every rank calls it.

        Args:
            ranks: The ranks.
            unreadable: Warnings of this rank about images that cannot be loaded.
        """
        options, pixels = self._options, self._pixels
        counts = pixels.confusion.counts if pixels is not None else 0
        stream = self.stream
        parts, results, confusions, warned, beyond, full = zip(
            *ranks.gather((stream.parts, self._kept, counts, unreadable, stream.beyond, self._full)), strict=True
        )
        kept = sorted(chain.from_iterable(results), key=lambda r: str(r.image_id))
        if self._at_the_end:
            metrics = score_results(
                self._dataset,
                kept,
                self._iou_types,
                options.max_dets,
                options.engine,
                lvis=options.lvis,
                areas=options.areas,
            )
        else:
            metrics = stream.finish(parts, sum(beyond, Counter()))
        if pixels is not None:
            pixels.confusion.counts = np.sum(confusions, axis=0)
            metrics = replace(metrics, semantic=pixels.confusion.metrics())
        warnings = [*metrics.warnings, *chain.from_iterable(warned), *self._warnings(sum(full))]
        return Scored(replace(metrics, warnings=list(dict.fromkeys(warnings))), kept, pixels)

    def _warnings(self, full: int) -> list[str]:
        warnings = [] if self._dataset.annotations else ["the data has no annotations: there is nothing to score"]
        most = max(map(len, self._annotations.values()), default=0)
        if self._limit is not None and most > self._limit:
            warnings.append(f"an image has {most} instances, but the model predicts at most {self._limit}")
        if full:
            where = "1 image reaches" if full == 1 else f"{full} images reach"
            warnings.append(f"{where} the model's limit of {self._limit} instances: what it finds beyond is not scored")
        return warnings


def default_iou_types(card: ModelCard) -> tuple[str, ...]:
    """The IoU types for a model's instances; a model of a dataset without background predicts no instances."""
    kind = ARCHITECTURES[card.model]
    if kind.pixels:
        return () if card.uncovered == "ignore" else ("segm",)
    return ("segm", "bbox") if kind.masks else ("bbox",)
