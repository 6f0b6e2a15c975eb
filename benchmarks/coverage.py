"""How often 95 % confidence intervals contain the score of all images, and how often p is below 0.05 by chance.

    python benchmarks/coverage.py [--sets 200] [--categories 1,3,20,40] [--images 10,30,100] [--out coverage.json]

Four populations for each number of categories, drawn at random: how frequent each category is (by a power law from 20
categories on, as in COCO), how well it is found, how scores go with quality. Images are hard or easy, and so all that
is in one of them. From each population many sets of images are drawn and scored with segkit's own functions; the score
to be contained is that of 30,000 images. ``p`` compares two independent models that are equally good.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.evaluation.analysis.compare import compare_pools
from segkit.evaluation.analysis.intervals import Parts, confidence_interval
from segkit.evaluation.analysis.pools import Pool, average_precisions
from segkit.evaluation.pixels.confusion import iou_of_parts

THRESHOLDS = np.linspace(0.5, 0.95, 10)
POPULATIONS = 4
SCORES = ("AP", "AP50", "PQ", "mIoU")


@dataclass
class Drawn:
    """A set of images: detections by category, PQ's sums and pixel areas, [images, K, 2]."""

    pools: list[Pool]
    instances: np.ndarray
    panoptic: np.ndarray
    areas: np.ndarray


class Population:
    """Images of which sets can be drawn; every category has its own frequency and difficulty."""

    def __init__(self, categories, seed):
        rng = np.random.default_rng([seed, categories])
        rate = np.array([3.0, 1.5, 0.7])[:categories]
        if categories > 3:
            rate = 1 / np.arange(1, categories + 1) ** 0.8
            rate *= 7 / rate.sum()  # seven instances in an image, as in COCO
        self.rate = rng.permutation(rate)
        self.found = rng.uniform(0.6, 0.97, categories)
        self.quality = rng.uniform(0.6, 0.85, categories)
        self.wrong = self.rate * rng.uniform(0.2, 1.2, categories)
        self.confidence = rng.uniform(0.5, 2.0, categories)

    def draw(self, images, rng, models=1):
        """A set of images, as one or several independent models of the same quality see it."""
        hard, busy = rng.normal(0, 0.5, images), rng.gamma(3, 1 / 3, images)
        numbers = [rng.poisson(rate * busy) for rate in self.rate]
        return [self._predict(numbers, hard, busy, rng) for _ in range(models)]

    def _predict(self, numbers, hard, busy, rng):
        images, pools = len(hard), []
        panoptic = np.zeros((images, len(numbers), 2))
        for k, number in enumerate(numbers):
            image = np.repeat(np.arange(images), number)
            image = image[rng.random(len(image)) < self.found[k]]
            skill = rng.normal(0, 1, len(image)) - hard[image]
            mean = np.clip(self.quality[k] + 0.05 * skill, 0.05, 0.97)
            iou = rng.beta(8 * mean, 8 * (1 - mean))
            logit = self.confidence[k] + 0.8 * skill + 3 * (iou - 0.7) + rng.normal(0, 0.7, len(image))
            other = np.repeat(np.arange(images), rng.poisson(self.wrong[k] * busy * np.exp(0.4 * hard)))
            noise = rng.normal(-0.5, 1.1, len(other)) + 0.3 * hard[other]
            where, iou = np.concatenate([image, other]), np.concatenate([iou, np.zeros(len(other))])
            score = 1 / (1 + np.exp(-np.concatenate([logit, noise])))
            order = np.argsort(-score, kind="stable")
            where, iou, score = where[order], iou[order], score[order]
            outcome = np.where(iou[:, None] >= THRESHOLDS, 1, 2).astype(np.uint8)
            pools.append(Pool(where, score, outcome, number))
            kept = score >= 0.5
            tp = np.bincount(where, kept & (iou > 0.5), images)
            panoptic[:, k, 0] = np.bincount(where, kept * iou * (iou > 0.5), images)
            panoptic[:, k, 1] = (np.bincount(where, kept, images) - tp) / 2 + tp + (number - tp) / 2
        return Drawn(pools, np.array([n.sum() for n in numbers]), panoptic, self._pixels(hard, rng))

    def _pixels(self, hard, rng):
        present = rng.random((len(hard), len(self.rate))) < 1 - np.exp(-self.rate)
        area = rng.gamma(1.0, 1e6, present.shape) * present
        mean = np.clip(self.quality + 0.16 * hard[:, None], 0.05, 0.97)
        return np.stack([area * rng.beta(6 * mean, 6 * (1 - mean)), area], axis=2)


def scores_of(drawn, weights):
    """Each score of each part by category, [B, K], and in how many places a category was scored."""
    ap = average_precisions(drawn.pools, weights)
    iou, total = np.moveaxis(np.tensordot(weights.astype(float), drawn.panoptic, 1), -1, 0)
    pq = np.where(total > 0, iou / np.maximum(total, 0.5), np.nan)
    places = (drawn.areas[..., 1] > 0).sum(axis=0)
    return {
        "AP": (ap.mean(axis=2), drawn.instances),
        "AP50": (ap[:, :, 0], drawn.instances),
        "PQ": (pq, None),
        "mIoU": (iou_of_parts(drawn.areas, weights), places),
    }


def truth_of(population, rng):
    """The scores of 30,000 images."""
    (drawn,) = population.draw(30_000, rng)
    scores = scores_of(drawn, np.ones((1, 30_000), np.float32))
    return {name: float(np.nanmean(values[0])) for name, (values, _) in scores.items()}


def coverage(categories, images, sets, seed=0):
    """The share of sets whose interval contains the score of all images, and the mean width of the intervals."""
    parts = Parts.of(images)
    inside, widths = ({name: [] for name in SCORES} for _ in range(2))
    for number in range(POPULATIONS):
        population = Population(categories, [seed, number])
        rng = np.random.default_rng([seed, number, images])
        truth = truth_of(population, rng)
        for _ in range(-(-sets // POPULATIONS)):
            (drawn,) = population.draw(images, rng)
            for name, (values, places) in scores_of(drawn, parts.weights).items():
                interval = confidence_interval(values, parts.groups, places)
                low, high = interval or (0, -1)  # no interval counts as one that misses
                inside[name].append(low <= truth[name] <= high)
                widths[name].append(high - low)
    return {name: (float(np.mean(inside[name])), float(np.mean(widths[name]))) for name in SCORES}


def false_alarms(categories, images, sets, seed=0):
    """How often p is below 0.05 for two models that are equally good."""
    rng, below = np.random.default_rng([seed, images, categories]), []
    for number in range(POPULATIONS):
        population = Population(categories, [seed, number])
        for _ in range(-(-sets // POPULATIONS)):
            first, second = (drawn.pools for drawn in population.draw(images, rng, models=2))
            below.append(compare_pools(first, second, images, 999).p < 0.05)
    return float(np.mean(below))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200, help="sets of images for each row")
    parser.add_argument("--categories", default="1,3,20,40")
    parser.add_argument("--images", default="10,30,100")
    parser.add_argument("--seed", type=int, default=0, help="other populations")
    parser.add_argument("--out", type=Path, help="JSON file that receives the rows")
    options = parser.parse_args()
    rows, began = [], time.process_time()
    print("| images | categories | AP | AP50 | PQ | mIoU | p below 0.05 |\n|---|---|---|---|---|---|---|", flush=True)
    for images in map(int, options.images.split(",")):
        for categories in map(int, options.categories.split(",")):
            found = coverage(categories, images, options.sets, options.seed)
            alarms = false_alarms(categories, images, options.sets, options.seed)
            rows.append({"images": images, "categories": categories, "p": alarms, **found})
            cells = " | ".join(f"{found[name][0]:.3f} ({found[name][1]:.3f})" for name in SCORES)
            print(f"| {images} | {categories} | {cells} | {alarms:.3f} |", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{time.process_time() - began:.0f} s of CPU, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
