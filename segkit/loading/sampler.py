"""Which images every step sees: a pure function of seed and step.

Epochs are concatenated and cut into batches; a batch may span two epochs, so that every step has exactly ``batch``
images. A resumed run needs only its step to continue, and ranks that share a batch see the images that one rank would
see.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.data.records import Dataset, id_order

Order = npt.NDArray[np.int64]
_MOST_REPEATS = 8.0  # of an image in an epoch


class Key(NamedTuple):
    """An image in an epoch: what its augmentation is seeded with, and the frame that its batch is padded to."""

    epoch: int
    image: int
    copy: int = 0  # images with rare categories may come more than once in an epoch
    frame: tuple[int, int] | None = None


class TrainingOrder:
    """The keys of every batch, endlessly."""

    def __init__(
        self,
        groups: Order,
        batch: int,
        seed: int,
        *,
        repeats: npt.NDArray[np.float64] | None = None,
        frame_of: Callable[[Key], tuple[int, int]] | None = None,
        first_step: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ):
        """An order over ``len(groups)`` images.

        Args:
            groups: A number for every image; batches are of one group where possible.
            batch: Images of a step, over all ranks.
            seed: Seed of the order.
            repeats: How often each image comes in an epoch, on average, at least once; None: once.
            frame_of: The size of an image as the model gets it; all images of a step are padded to the largest.
            first_step: The step to begin with.
            rank: The rank whose part of each batch is returned.
            ranks: How many ranks share a batch.
        """
        self._groups, self._batch, self._seed, self._frame_of = groups, batch, seed, frame_of
        self._ends = None if repeats is None else np.cumsum(repeats)
        self._first_step, self._rank, self._ranks = first_step, rank, ranks
        self.epoch_length = epoch_length(len(groups), repeats)
        self._known: tuple[int, Order] = (-1, groups[:0])

    def keys_of(self, step: int) -> list[Key]:
        """The images of a step, over all ranks."""
        keys: list[Key] = []
        for place in range(step * self._batch, (step + 1) * self._batch):
            epoch, at = divmod(place, self.epoch_length)
            order = self._order(epoch)
            image = int(order[at])
            copy = 0 if self._ends is None else int(np.count_nonzero(order[:at] == image))
            keys.append(Key(epoch, image, copy))
        if self._frame_of is None:
            return keys
        sides = [self._frame_of(key) for key in keys]
        frame = max(height for height, _ in sides), max(width for _, width in sides)
        return [key._replace(frame=frame) for key in keys]

    def _order(self, epoch: int) -> Order:
        if self._known[0] != epoch:
            self._known = epoch, self._make_order(epoch)
        return self._known[1]

    def _make_order(self, epoch: int) -> Order:
        """The images of an epoch in their order."""
        rng = np.random.default_rng([self._seed, 1, epoch])
        if self._ends is None:
            order = rng.permutation(len(self._groups))
        else:  # systematic sampling: evenly spaced marks over intervals as long as the repeats
            marks = (np.arange(self.epoch_length) + rng.random()) * self._ends[-1] / self.epoch_length
            order = rng.permutation(np.minimum(np.searchsorted(self._ends, marks, side="right"), len(self._ends) - 1))
        groups = self._groups[order]
        if len(np.unique(groups)) == 1:
            return order
        first = -epoch * self.epoch_length % self._batch  # images that complete the last batch of the epoch before
        members = [order[groups == group] for group in np.unique(groups)]
        whole = [len(each) // self._batch * self._batch for each in members]
        batches = [b for each, n in zip(members, whole, strict=True) for b in each[:n].reshape(-1, self._batch)]
        batches = [batches[i] for i in rng.permutation(len(batches))]
        rest = [each[n:] for each, n in zip(members, whole, strict=True)]
        while sum(map(len, rest)) < min(first, len(order)):
            rest.append(batches.pop())
        mixed = np.concatenate(rest)
        return np.concatenate([mixed[:first], *batches, mixed[first:]])

    def __iter__(self) -> Iterator[list[Key]]:
        step = self._first_step
        while True:
            yield self.keys_of(step)[self._rank :: self._ranks]
            step += 1


def by_orientation(dataset: Dataset) -> Order:
    """Group 1 for images that are higher than wide, 0 for the others: padded together, they would waste half."""
    return np.array([int(image.height > image.width) for image in dataset.images], np.int64)


def repeats_for_balance(dataset: Dataset) -> npt.NDArray[np.float64]:
    """How often each image should come, so that rare categories are seen more often.

    A category in a fraction f of the images asks for max(1, sqrt(t / f)) times; an image takes the most that one of
    its categories asks for (repeat factor sampling: Gupta et al. 2019, https://arxiv.org/abs/1908.03195).
    The threshold t is the median of f, so that it suits four categories as well as a thousand.
    """
    wanted, found = repeats_by_category(dataset), _categories_of_images(dataset)
    return np.array([max((wanted[c] for c in found.get(i.id, ())), default=1.0) for i in dataset.images])


def repeats_by_category(dataset: Dataset) -> dict[Any, float]:
    """How often the images of each category that occurs should come (``repeats_for_balance``)."""
    found = _categories_of_images(dataset)
    categories = sorted({category for some in found.values() for category in some}, key=id_order)
    shares = {c: sum(c in some for some in found.values()) / len(dataset.images) for c in categories}
    typical = float(np.median(list(shares.values())))
    return {c: min(_MOST_REPEATS, max(1.0, (typical / share) ** 0.5)) for c, share in shares.items()}


def _categories_of_images(dataset: Dataset) -> dict[int, set[Any]]:
    return {image: {a.category_id for a in some} for image, some in dataset.annotations_of().items()}


def epoch_length(num_images: int, repeats: "npt.NDArray[Any] | None") -> int:
    """Images in an epoch: each at least once."""
    return num_images if repeats is None else int(np.ceil(float(repeats.sum()) - 1e-9))


def evaluation_batches(frames: Sequence[tuple[int, int]], batch: int, rank: int = 0, ranks: int = 1) -> list[list[Key]]:
    """The keys of an evaluation: every image once over all ranks, the smallest frames first.

    Images of one frame are neighbours, as only they go through the model together.

    Args:
        frames: Height and width that each image is padded to.
        batch: Images at once.
        rank: The rank whose keys are returned.
        ranks: How many ranks share the work.
    """
    order = sorted(range(len(frames)), key=lambda index: (frames[index][0] * frames[index][1], frames[index]))
    keys = [Key(0, index) for index in order[rank::ranks]]
    return [keys[start : start + batch] for start in range(0, len(keys), batch)]
