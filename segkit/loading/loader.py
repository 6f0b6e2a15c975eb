"""Batches of samples, loaded by worker processes."""

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from segkit.errors import SegkitError
from segkit.loading.dataset import Pictures, Sample
from segkit.loading.sampler import Key


def make_loader(
    pictures: Pictures, batches: Sampler[list[Key]] | Sequence[list[Key]], *, workers: int, pin_memory: bool
) -> "DataLoader[Any]":
    """A loader whose workers live as long as it does; an image that cannot be loaded comes as its error.

    Args:
        pictures: What to load.
        batches: The keys of every batch.
        workers: Processes that load; 0: this process loads.
        pin_memory: Whether to put batches into pinned memory, for faster copies to a GPU.
    """
    return DataLoader(
        pictures,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_as_list,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=2 if workers > 0 else None,
        worker_init_fn=_one_thread,
        generator=torch.Generator(),  # the default one would consume random numbers of the training
    )


def batches_of(loader: "DataLoader[Any]") -> Iterator[list[Sample] | SegkitError]:
    """The loader's batches; in place of a batch with an image that cannot be loaded, the error."""
    for batch in loader:
        yield next((sample for sample in batch if isinstance(sample, SegkitError)), batch)


def _as_list(samples: list[Sample | SegkitError]) -> list[Sample | SegkitError]:
    return samples


def _one_thread(worker_id: int) -> None:
    cv2.setNumThreads(0)  # torch limits its own threads in a worker
