"""Whether images with rare categories come more often than once in an epoch."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from segkit.config.train import TrainConfig
from segkit.data.records import Dataset
from segkit.loading.sampler import epoch_length, repeats_by_category, repeats_for_balance

_LEAST_IMAGES = 50  # of fewer, the shares of categories say little
_RARE = 2.0  # repeats of the images of a category that is in a quarter as many images as a usual one
_NAMED = 3  # categories in the sentence


def balanced(
    config: TrainConfig, training: Dataset
) -> tuple[TrainConfig, npt.NDArray[np.float64] | None, tuple[str, ...]]:
    """The options with ``balance`` chosen, how often each image comes (None: once), and what was chosen, in words.

    Where the option was left open, images are repeated if a category is rare: in at most a quarter as many images as
    the median one, among images enough to tell.

    Args:
        config: Options.
        training: The training split.
    """
    by_category = repeats_by_category(training)
    rare = len(training.images) >= _LEAST_IMAGES and max(by_category.values(), default=1.0) >= _RARE
    chosen = rare if config.balance is None else config.balance
    repeats = repeats_for_balance(training) if chosen else None
    said: tuple[str, ...] = ()
    if repeats is not None and config.balance is None:
        names = {each.id: each.name for each in training.categories}
        most = sorted((key for key in by_category if by_category[key] >= _RARE), key=lambda key: -by_category[key])
        each = ", ".join(f"{names[key]} 1 -> {by_category[key]:.1f} times" for key in most[:_NAMED])
        others = f" and {len(most) - _NAMED} more" if len(most) > _NAMED else ""
        length = f"an epoch has {len(training.images)} -> {epoch_length(len(training.images), repeats)} images"
        said = (f"images of rare categories come more often: {each}{others}; {length} (--no-balance: each once)",)
    return replace(config, balance=chosen), repeats, said
