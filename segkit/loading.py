"""Dataset -> batches: which pictures a step sees, and how they become tensors.

The order is a pure function of seed and step, and a picture's variation one of seed, epoch and picture. A resumed
run, another number of workers, and ranks that share a batch therefore see the very same pictures.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from segkit.augment import STRENGTHS, Strength, draw_crop, draw_warp, vary_pixels
from segkit.config.train import AugmentLevel
from segkit.dataset import Dataset, Image
from segkit.errors import InputError, SegkitError
from segkit.flat import FlatAnnotations
from segkit.geometry import Framing, Warp, fit
from segkit.pictures import load_rgb
from segkit.tensors import Shapes, Target, instances_to_target, labels_of

IGNORED = 255


class Key(NamedTuple):
    """A picture in an epoch: what its variation is drawn from."""

    epoch: int
    image: int


class Sample(NamedTuple):
    """One picture for the model, and where it came from."""

    image: Tensor  # uint8 [3, H, W]
    target: Target
    record: Image


class Pictures(TorchDataset["Sample | SegkitError"]):
    """Pictures with their targets, by key.

    A picture that cannot be loaded comes back as the error: raised in a worker, torch would wrap it in a traceback.
    """

    def __init__(
        self,
        dataset: Dataset,
        framing: Framing,
        *,
        seed: int,
        augment: AugmentLevel | None,
        boxes_will_do: bool,
    ) -> None:
        """Pack a dataset for loading.

        Args:
            dataset: What to load.
            framing: How pictures are brought to size.
            seed: Seed of the variation.
            augment: How much training pictures vary; None for evaluation, where whole pictures come unvaried.
            boxes_will_do: Take the box where an annotation has no segmentation.
        """
        self._annotations = FlatAnnotations(dataset, labels_of(dataset.categories), boxes_will_do=boxes_will_do)
        self._folder, self._uncovered = str(dataset.images_dir), dataset.uncovered
        self._framing, self._seed = framing, seed
        self._strength: Strength | None = None if augment is None else STRENGTHS[augment]

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, key: Key) -> Sample | SegkitError:
        try:
            return self._load(key)
        except SegkitError as error:
            return error

    def _load(self, key: Key) -> Sample:
        record = self._annotations.image(key.image)
        pixels = load_rgb(Path(self._folder) / record.file_name)
        if pixels.shape[:2] != (record.height, record.width):
            raise InputError(
                f"{self._folder}/{record.file_name}: has {pixels.shape[0]}x{pixels.shape[1]} pixels, "
                f"the dataset says {record.height}x{record.width}",
                "was the picture replaced? convert again",
            )
        rng = np.random.default_rng([self._seed, key.epoch, key.image])
        warp = self._warp(rng, record)
        image = warp.image(pixels)
        if self._strength is not None:
            image = vary_pixels(rng, self._strength, image)
        return Sample(_to_tensor(image), self._target(key.image, record, warp), record)

    def _warp(self, rng: np.random.Generator, record: Image) -> Warp:
        framing = self._framing
        if framing.kind == "semantic":
            if self._strength is None:
                return Warp(record.height, record.width)
            return draw_crop(rng, self._strength, record.height, record.width, framing.size)
        if self._strength is None:
            return Warp(*fit(record.height, record.width, framing.size, framing.max_size))
        return draw_warp(rng, self._strength, record.height, record.width, framing.size, framing.max_size)

    def _target(self, index: int, record: Image, warp: Warp) -> Target:
        items = self._annotations.items(index)
        if self._framing.kind == "instances":
            kept = [item for item in items if not item.iscrowd]
            masks = [warp.mask(item.segmentation, record.height, record.width) for item in kept]
            return instances_to_target(Shapes([item.label for item in kept], masks), *warp.out)
        frame = np.zeros((record.height, record.width), np.uint8)
        label_map = warp.image(frame, fill=IGNORED)  # what lies outside the picture may not be learnt
        if self._uncovered == "ignore":
            label_map[:] = IGNORED
        for item in items:
            inside = warp.mask(item.segmentation, record.height, record.width) > 0
            label_map[inside] = IGNORED if item.iscrowd else item.label
        return {"semantic": torch.from_numpy(label_map)}


def load_for_model(pixels: "np.ndarray[Any, np.dtype[np.uint8]]", framing: Framing) -> Tensor:
    """A picture [H, W, 3] as the model gets it in evaluation and prediction: uint8 [3, H, W]."""
    if framing.kind == "semantic":
        return _to_tensor(pixels)
    return _to_tensor(Warp(*fit(pixels.shape[0], pixels.shape[1], framing.size, framing.max_size)).image(pixels))


def _to_tensor(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous()


class TrainingOrder(Sampler[list[Key]]):
    """What every step sees: epochs of all pictures in random order, one after the other, cut into batches.

    A batch may span two epochs, so every step has exactly ``batch`` pictures and every epoch every picture once.
    """

    def __init__(self, num_images: int, batch: int, seed: int, first_step: int = 0, rank: int = 0, ranks: int = 1):
        self._num_images, self._batch, self._seed = num_images, batch, seed
        self._first_step, self._rank, self._ranks = first_step, rank, ranks

    def keys_of(self, step: int) -> list[Key]:
        """The pictures of a step, over all ranks."""
        places = [divmod(place, self._num_images) for place in range(step * self._batch, (step + 1) * self._batch)]
        orders = {epoch: self._order(epoch) for epoch in {epoch for epoch, _ in places}}
        return [Key(epoch, int(orders[epoch][place])) for epoch, place in places]

    def _order(self, epoch: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        return np.random.default_rng([self._seed, 1, epoch]).permutation(self._num_images)

    def __iter__(self) -> Iterator[list[Key]]:
        step = self._first_step
        while True:
            yield self.keys_of(step)[self._rank :: self._ranks]
            step += 1


def _keep(samples: list[Sample | SegkitError]) -> list[Sample | SegkitError]:
    return samples


def _quiet_worker(worker_id: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def make_loader(
    pictures: Pictures, batches: Sampler[list[Key]] | Sequence[list[Key]], *, workers: int, pin_memory: bool
) -> "DataLoader[Any]":
    """A loader whose workers live as long as it does."""
    return DataLoader(
        pictures,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_keep,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=2 if workers > 0 else None,
        worker_init_fn=_quiet_worker,
        generator=torch.Generator(),  # else it would draw from the state that training draws from
    )


def batches_of(loader: "DataLoader[Any]") -> Iterator[list[Sample]]:
    """The loader's batches.

    Raises:
        InputError: A picture cannot be loaded; the message names it.
    """
    for batch in loader:
        for sample in batch:
            if isinstance(sample, SegkitError):
                raise sample
        yield batch


def evaluation_batches(num_images: int, batch: int, rank: int = 0, ranks: int = 1) -> list[list[Key]]:
    """Every picture once over all ranks, in order."""
    keys = [Key(0, index) for index in range(rank, num_images, ranks)]
    return [keys[start : start + batch] for start in range(0, len(keys), batch)]
