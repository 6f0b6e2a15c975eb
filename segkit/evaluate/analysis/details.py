"""The reason behind AP, from one pass over the pictures: everything that ``--details`` and ``--report`` show."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.evaluate.analysis.bootstrap import Pool, average_precisions, draws, interval, mean_ap, pools_of
from segkit.evaluate.analysis.counts import (
    Cut,
    Fates,
    Quality,
    best_cut,
    confusion_of,
    cut_at,
    fates_of,
    quality_of,
)  # fmt: skip
from segkit.evaluate.analysis.tide import KINDS, Mistake, costs, mistakes_of
from segkit.evaluate.coco.engine import EngineName, IouType, outcomes
from segkit.evaluate.coco.inputs import Pair, renumbered
from segkit.evaluate.coco.overlap import Floats, Ints, overlaps_of
from segkit.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture at the asked score: what was found, what was made up, what was missed."""

    image_id: int
    fates: Fates
    mistakes: list[Mistake]
    quality: Quality
    instances: int
    predictions: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of a pair; the figures of ``document`` are what ``--json`` gives."""

    pair: Pair
    kind: IouType
    score: float
    pictures: list[Picture]
    confusion: Ints  # [K + 1, K + 1]
    pools: list[Pool]
    document: dict[str, Any]


def explain_pair(
    pair: Pair,
    kind: IouType,
    *,
    score: float,
    cap: int,
    resamples: int,
    engine: EngineName = "fast",
    progress: Progress = SILENT,
) -> Explanation:
    """Look at every picture of a pair.

    Args:
        pair: Annotations and results.
        kind: Compare masks or boxes.
        score: From which a detection counts as a prediction.
        cap: Detections counted in an image and category.
        resamples: Draws behind the confidence intervals; 0: none.
        engine: Who matches for the intervals.
        progress: Who is told how far it is.
    """
    pair = pair.with_truth(renumbered(pair.truth))
    categories = sorted(pair.names)
    pictures, confusion = [], np.zeros((len(categories) + 1, len(categories) + 1), np.int64)
    by_category: dict[int, Quality] = {category: Quality() for category in categories}
    progress.start("looking at every picture", len(pair.truth["images"]))
    for overlaps in overlaps_of(pair, kind, cap):
        fates = fates_of(overlaps)
        qualities = quality_of(overlaps, score)
        for category, quality in qualities.items():
            by_category[category] += quality
        confusion += confusion_of(fates, categories, score)
        pictures.append(
            Picture(
                overlaps.image_id,
                fates,
                mistakes_of(fates),
                sum(qualities.values(), Quality()),
                int((~overlaps.crowd).sum()),
                int((overlaps.score >= score).sum()),
            )
        )
        progress.advance()
    progress.start("drawing pictures again and again", None)
    pools = _pools(pair, kind, cap, engine)
    document = {
        "kind": kind,
        "iou": 0.5,
        "score": score,
        **_counted(pictures, pair.names, by_category, score),
        "mistakes": _mistakes(pictures, categories),
        "confusion": {
            "categories": [*(pair.names[category] for category in categories), "background"],
            "counts": confusion.tolist(),
        },
        "confidence": _confidence(pools, pair.names, len(pictures), resamples) if resamples else None,
    }
    progress.done()
    return Explanation(pair, kind, score, pictures, confusion, pools, document)


def flat(pictures: Sequence[Picture], category: int | None = None) -> tuple[Floats, Any, Any, int]:
    """Score, hit and miss [D] of all detections (of a category), and how many annotations there are to find."""
    scores, hits, misses, positives = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0, bool)], 0
    for picture in pictures:
        overlaps = picture.fates.picture
        own = slice(None) if category is None else overlaps.found == category
        scores.append(overlaps.score[own])
        hits.append(picture.fates.hit[own])
        misses.append(picture.fates.miss[own])
        real = ~overlaps.crowd
        positives += int(real.sum() if category is None else (real & (overlaps.truth == category)).sum())
    return np.concatenate(scores), np.concatenate(hits), np.concatenate(misses), positives


def _counted(
    pictures: list[Picture], names: dict[int, str], qualities: dict[int, Quality], score: float
) -> dict[str, Any]:
    """Counts and what follows from them, by category and over all; means are over categories with annotations."""
    per_category = {}
    for category, name in sorted(names.items()):
        figures = _figures(*flat(pictures, category), score) | qualities[category].figures()
        per_category[name] = figures | _count_errors(pictures, score, category)
    scored = [each for each in per_category.values() if each["PQ"] >= 0]
    overall = _figures(*flat(pictures), score) | _count_errors(pictures, score)
    for name in ("PQ", "SQ", "RQ"):
        overall[name] = float(np.mean([each[name] for each in scored])) if scored else -1.0
    return {"overall": overall, "per_category": per_category}


def _figures(scores: Floats, hit: Any, miss: Any, positives: int, least: float) -> dict[str, Any]:
    cut, best = cut_at(scores, hit, miss, positives, least), best_cut(scores, hit, miss, positives)
    return {
        "instances": positives,
        "predictions": int((scores >= least).sum()),
        "found": cut.hits,
        "wrong": cut.misses,
        "precision": cut.precision,
        "recall": cut.recall,
        "F1": cut.F1,
        "best": None if best is None else _cut(best),
    }


def _count_errors(pictures: list[Picture], score: float, category: int | None = None) -> dict[str, float]:
    """How far the number of predictions is from that of instances, per picture: the mean, and the mean of its size."""
    off = []
    for picture in pictures:
        overlaps = picture.fates.picture
        predicted, there = overlaps.score >= score, ~overlaps.crowd
        if category is not None:
            predicted, there = predicted & (overlaps.found == category), there & (overlaps.truth == category)
        off.append(int(predicted.sum()) - int(there.sum()))
    if not off:
        return {"count_bias": 0.0, "count_error": 0.0}
    return {"count_bias": float(np.mean(off)), "count_error": float(np.mean(np.abs(off)))}


def _cut(cut: Cut) -> dict[str, float]:
    return {"score": cut.score, "precision": cut.precision, "recall": cut.recall, "F1": cut.F1}


def _mistakes(pictures: list[Picture], categories: list[int]) -> dict[str, Any]:
    counts = Counter(mistake.kind for picture in pictures for mistake in picture.mistakes)
    fates, mistakes = [p.fates for p in pictures], [p.mistakes for p in pictures]
    return {"counts": {kind: counts[kind] for kind in KINDS}, "AP50_cost": costs(fates, mistakes, categories)}


def _pools(pair: Pair, kind: IouType, cap: int, engine: EngineName) -> list[Pool]:
    images = sorted(image["id"] for image in pair.truth["images"])
    position = {image_id: n for n, image_id in enumerate(images)}
    slots = {category: k for k, category in enumerate(sorted(pair.names))}
    positives = np.zeros((len(slots), len(images)), np.int64)
    for annotation in pair.truth["annotations"]:
        if not annotation["iscrowd"]:
            positives[slots[annotation["category_id"]], position[annotation["image_id"]]] += 1
    return pools_of(outcomes(pair.truth, pair.results, kind, cap, engine), images, positives)


def _confidence(pools: list[Pool], names: dict[int, str], num_images: int, resamples: int) -> dict[str, Any]:
    scores = average_precisions(pools, draws(num_images, resamples))
    return {
        "level": 0.95,
        "resamples": resamples,
        "AP": interval(mean_ap(scores)),
        "AP50": interval(mean_ap(scores, 0)),
        "per_category": {name: interval(mean_ap(scores[:, [k]])) for k, (_, name) in enumerate(sorted(names.items()))},
    }
