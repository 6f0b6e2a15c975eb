"""Parts of a dataset in which every category occurs as often, for its size, as in the whole."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from segkit.data.records import Dataset

_TRIED = 64  # images, for each place of the order


def stratified_order(dataset: Dataset, seed: int) -> list[int]:
    """An order of images, at random, every beginning of which has about the categories' shares of the whole.

    Each place takes, of the next images in a random order, the one after which the instances of each category (and the
    images without any) are nearest to their shares (greedy, after Sechidis et al. 2011, iterative stratification).

    Args:
        dataset: The dataset.
        seed: Of the random order.

    Returns:
        Places in ``dataset.images``.
    """
    counts = _counts(dataset)
    totals = np.maximum(counts.sum(0), 1)
    left = np.random.default_rng([seed, 4]).permutation(len(counts)).tolist()
    taken, order = np.zeros(counts.shape[1]), list[int]()
    while left:
        candidates = left[:_TRIED]
        shares = (taken + counts[candidates]) / totals  # [tried, K + 1]
        wanted = (len(order) + 1) / len(counts)
        best = int(((shares - wanted) ** 2).sum(1).argmin())
        place = left.pop(best)
        taken += counts[place]
        order.append(place)
    return order


def part_of(dataset: Dataset, places: list[int]) -> Dataset:
    """The images at some places, in the order of the whole, with their annotations."""
    images = tuple(dataset.images[place] for place in sorted(places))
    ids = {image.id for image in images}
    return replace(dataset, images=images, annotations=tuple(a for a in dataset.annotations if a.image_id in ids))


def _counts(dataset: Dataset) -> npt.NDArray[np.float64]:
    """The instances of each category in each image, and 1 where there is none at all, [images, K + 1]."""
    column = {category.id: number for number, category in enumerate(dataset.categories)}
    row = {image.id: number for number, image in enumerate(dataset.images)}
    counts = np.zeros((len(row), len(column) + 1))
    for annotation in dataset.annotations:
        if annotation.image_id in row:
            counts[row[annotation.image_id], column[annotation.category_id]] += 1
    counts[:, -1] = counts.sum(1) == 0
    return counts
