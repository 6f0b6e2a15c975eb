"""A model's predictions for a dataset, and their score: the same code inside training and after it."""

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from segkit.choices import ARCHITECTURES, EngineName
from segkit.data.panoptic_merge import LEAST_SCORE
from segkit.data.records import Dataset, Image, Result
from segkit.errors import Interrupted, SegkitError
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.coco.streaming import Stream
from segkit.evaluation.metrics import Metrics
from segkit.evaluation.pixels.confusion import paint
from segkit.evaluation.pixels.per_image import PixelScores
from segkit.evaluation.pixels.segments import SegmentScores
from segkit.inference.folds import Predictor
from segkit.inference.segments import classes_of, segments_of
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
        least_score: Of a model that finds things and stuff: the score from which on instances are segments.
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
    least_score: float = LEAST_SCORE


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
        things = dataset.without(card.stuff)  # of stuff there are no instances
        self._iou_types = default_iou_types(card) if options.iou_types is None else options.iou_types
        # Boundary IoU and LVIS's AP are computed from all results at once, and then so are the others.
        self._at_the_end = "boundary" in self._iou_types or options.lvis is not None
        by_batch = tuple(kind for kind in ("segm", "bbox") if kind in self._iou_types and not self._at_the_end)
        self.stream = Stream(things, by_batch, options.max_dets, options.engine, options.areas)
        self._pixels: PixelScores | None = None
        self._segments: SegmentScores | None = None
        kind = ARCHITECTURES[card.model]
        if (kind.pixels or kind.stuff) if options.pixels is None else options.pixels:
            if kind.stuff:
                self._segments = SegmentScores(dataset, card.stuff)
            self._pixels = PixelScores(
                dataset,
                intervals=options.intervals,
                details=options.details,
                boundary="boundary" in self._iou_types,
            )
        self._things, self._most = things, max(map(len, things.annotations_of().values()), default=0)
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
            found = prediction_to_results(
                prediction, image, height, width, dataset.categories, aligned_masks=self._card.settings.aligned_masks
            )
            results += found
            if self._pixels is not None:
                self._add_pixels(self._pixels, image, prediction, (height, width), found)
        self.stream.add([sample.record for sample in samples], results)
        keep_all = self._options.details or self._at_the_end
        self._kept += results if keep_all else [r for r in results if r.image_id in self._options.keep_results_of]

    def _add_pixels(
        self,
        pixels: PixelScores,
        image: Image,
        prediction: Prediction | ArrayPrediction,
        size: tuple[int, int],
        results: list[Result],
    ) -> None:
        """Score the label of every pixel, and the segments where a model predicts some.

        Args:
            pixels: Takes the labels.
            image: The image.
            prediction: Of it, in the frame that the model got.
            size: Height and width of that frame.
            results: Its instances.
        """
        annotations = self._annotations.get(image.id, [])
        labels = prediction.get("semantic")
        if self._segments is not None:
            classes = classes_of(prediction, self._card, size, (image.height, image.width))
            assert classes is not None
            segments = segments_of(results, classes, self._card, self._options.least_score)
            self._segments.add(image, annotations, segments)
            labels = segments.label_map(self._labels)
        assert labels is not None
        pixels.add(image, paint(image, annotations, self._labels, self._dataset.uncovered), labels)

    def gather(self, ranks: Ranks, unreadable: list[str]) -> Scored:
        """The score of the images of all ranks; every rank calls it.

        Args:
            ranks: The ranks.
            unreadable: Warnings of this rank about images that cannot be loaded.
        """
        options, pixels = self._options, self._pixels
        counts = pixels.confusion.counts if pixels is not None else 0
        stream, sums = self.stream, self._segments.images if self._segments is not None else {}
        parts, results, confusions, warned, beyond, full, segments = zip(
            *ranks.gather((stream.parts, self._kept, counts, unreadable, stream.beyond, self._full, sums)), strict=True
        )
        kept = sorted(chain.from_iterable(results), key=lambda r: str(r.image_id))
        if self._at_the_end:
            metrics = score_results(
                self._things,
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
        if self._segments is not None:
            metrics = replace(metrics, panoptic=self._segments.metrics(dict(ChainMap(*segments))))
        warnings = [*metrics.warnings, *chain.from_iterable(warned), *self._warnings(sum(full))]
        return Scored(replace(metrics, warnings=list(dict.fromkeys(warnings))), kept, pixels)

    def _warnings(self, full: int) -> list[str]:
        warnings = [] if self._dataset.annotations else ["the data has no annotations: there is nothing to score"]
        if self._limit is not None and self._most > self._limit:
            warnings.append(f"an image has {self._most} instances, but the model predicts at most {self._limit}")
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
