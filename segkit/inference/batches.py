"""Predictions batch by batch, for pictures that may not load and memory that may not do."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from segkit.errors import DeviceError, SegkitError
from segkit.loading.dataset import Sample
from segkit.models.tensors import Prediction
from segkit.progress import Progress
from segkit.runtime.device import autocast, free_memory, is_out_of_memory
from segkit.runtime.ranks import Ranks

Predict = Callable[[Sequence[Tensor]], list[Prediction]]


def good(loader: "Iterable[list[Sample | SegkitError]]", warnings: list[str] | None) -> Iterator[list[Sample]]:
    """The pictures that can be loaded, batch by batch.

    Args:
        loader: Samples, or why there is none.
        warnings: Takes the reasons; None: the first is raised.
    """
    for batch in loader:
        for error in (each for each in batch if isinstance(each, SegkitError)):
            if warnings is None:
                raise error
            warnings.append(f"{error.message}: counted as nothing found")
        if good := [each for each in batch if isinstance(each, Sample)]:
            yield good


class InHalves:
    """Predicts batches, and from the first that is too much for the memory on, half as many pictures at once."""

    def __init__(self, predict: Predict, ranks: Ranks, dtype: torch.dtype, at_once: int, progress: Progress) -> None:
        self._predict, self._ranks, self._dtype = predict, ranks, dtype
        self._at_once, self._progress = at_once, progress

    def __call__(self, samples: Sequence[Sample]) -> list[Prediction]:
        """The predictions for a batch.

        Raises:
            DeviceError: One picture alone is too much.
        """
        done: list[Prediction] = []
        alone = False
        while len(done) < len(samples):
            some = samples[len(done) : len(done) + self._at_once]
            found = self._try(some)
            if found is not None:
                done += found
                alone = False
                continue
            free_memory(self._ranks.device)
            largest = max(some, key=lambda sample: sample.image.shape[-2] * sample.image.shape[-1])
            height, width = largest.image.shape[-2:]
            which = f"{largest.record.file_name} ({height}x{width} as the model gets it)"
            if alone:
                raise DeviceError(
                    f"out of memory while evaluating {which}", "try a smaller --size, or another --device"
                )
            alone = len(some) == 1
            self._at_once = -(-len(some) // 2)
            self._progress.note(
                f"out of memory while evaluating {len(some)} pictures at once, the largest {which}; "
                f"going on with {self._at_once}"
            )
        return done

    def _try(self, samples: Sequence[Sample]) -> list[Prediction] | None:
        device = self._ranks.device
        try:
            with autocast(device, self._dtype):
                return self._predict([sample.image.to(device) for sample in samples])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
