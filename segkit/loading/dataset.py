"""Dataset -> batches: how pictures become tensors.

How a picture is varied is a pure function of seed, epoch and picture: a resumed run, another number of workers, and
ranks that share a batch see the very same pixels.
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

from segkit.choices import AugmentLevel
from segkit.config.train import TrainConfig
from segkit.data.geometry import Framing, Warp, fit
from segkit.data.records import Dataset, Image
from segkit.errors import InputError, SegkitError
from segkit.loading.augment import STRENGTHS, Strength, draw_crop, draw_warp, paste, vary_pixels
from segkit.loading.decode import decode_rgb, resize_rgb
from segkit.loading.packed import FlatAnnotations
from segkit.loading.sampler import Key
from segkit.models.card import ModelCard
from segkit.models.tensors import Crop, Target, crops_to_target, labels_of

IGNORED = 255
_SUBSTITUTES = 10  # pictures tried in the place of one that cannot be loaded, before the dataset counts as broken


class Sample(NamedTuple):
    """One picture for the model, and where it came from."""

    image: Tensor  # uint8 [3, H, W]
    target: Target
    record: Image
    instead_of: str | None = None  # why the picture whose turn it was is not here


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
        targets: bool = True,
        replace_bad: bool = False,
    ) -> None:
        """Pack a dataset for loading.

        Args:
            dataset: What to load.
            framing: How pictures are brought to size.
            seed: Seed of the variation.
            augment: How much training pictures vary; None for evaluation, where whole pictures come unvaried.
            boxes_will_do: Take the box where an annotation has no segmentation.
            targets: Whether there is something to learn from, beside the picture.
            replace_bad: Let the next picture stand in for one that cannot be loaded.
        """
        self._with_targets, self._replace_bad = targets, replace_bad
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
            return self._substitute(key, error) if self._replace_bad else error

    def _substitute(self, key: Key, error: SegkitError) -> Sample | SegkitError:
        for further in range(1, min(_SUBSTITUTES, len(self))):
            try:
                return self._load(key._replace(image=(key.image + further) % len(self)))._replace(
                    instead_of=error.message
                )
            except SegkitError:
                continue
        return error

    def frame_of(self, key: Key) -> tuple[int, int]:
        """Height and width of a picture as the model will get it, without loading it."""
        return self._warp(self._rng(key), self._annotations.image(key.image)).out

    def largest_frame(self) -> tuple[int, int]:
        """A height and a width that no picture exceeds, however it is varied."""
        framing, scale = self._framing, 1.0 if self._strength is None else self._strength.scale[1]
        if framing.kind == "semantic" and self._strength is not None:
            return framing.size, framing.size
        sizes = self._annotations.sizes.tolist()
        sides = sizes if framing.kind == "semantic" else [fit(h, w, framing.size, framing.max_size) for h, w in sizes]
        return round(max(h for h, _ in sides) * scale), round(max(w for _, w in sides) * scale)

    def most_crowded(self, count: int) -> list[int]:
        """The pictures with the most instances, over again where there are fewer than asked for."""
        return self._top(self._annotations.counts, count)

    def largest(self, count: int) -> list[int]:
        """The pictures with the most pixels, likewise."""
        return self._top(self._annotations.sizes.prod(axis=1), count)

    def _top(self, values: "np.ndarray[Any, Any]", count: int) -> list[int]:
        order = np.argsort(-values, kind="stable")
        return [int(order[place % len(order)]) for place in range(count)]

    def _rng(self, key: Key) -> np.random.Generator:
        return np.random.default_rng([self._seed, key.epoch, key.image, *([key.copy] if key.copy else [])])

    def _load(self, key: Key) -> Sample:
        record, rng = self._annotations.image(key.image), self._rng(key)
        pixels = self._pixels(record)
        warp = self._warp(rng, record)
        image = warp.image(resize_rgb(pixels, warp.height, warp.width))
        if self._strength is not None:
            image = vary_pixels(rng, self._strength, image)
        if not self._with_targets:
            return Sample(_to_tensor(image), {}, record)
        if self._framing.kind == "semantic":
            target: Target = {"semantic": torch.from_numpy(self._label_map(key.image, record, warp))}
        else:
            crops = self._crops(key.image, record, warp)
            if self._strength is not None and rng.random() < self._strength.paste:
                image, crops = self._pasted(rng, image, crops)
            target = crops_to_target(crops)
        # 62 bits of their own, so that what the model draws has nothing to do with what the picture drew
        drawn = np.random.SeedSequence([self._seed, 2, key.epoch, key.image, key.copy]).generate_state(1, np.uint64)
        target["seed"] = int(drawn[0] >> 2)
        if key.frame is not None:
            target["frame"] = key.frame
        return Sample(_to_tensor(image), target, record)

    def _pixels(self, record: Image) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        pixels = decode_rgb(Path(self._folder) / record.file_name)
        if pixels.shape[:2] != (record.height, record.width):
            raise InputError(
                f"{self._folder}/{record.file_name}: has {pixels.shape[0]}x{pixels.shape[1]} pixels, "
                f"the dataset says {record.height}x{record.width}",
                "was the picture replaced? convert again",
            )
        return pixels

    def _warp(self, rng: np.random.Generator, record: Image) -> Warp:
        framing = self._framing
        if framing.kind == "semantic":
            if self._strength is None:
                return Warp(record.height, record.width)
            return draw_crop(rng, self._strength, record.height, record.width, framing.size)
        if self._strength is None:
            return Warp(*fit(record.height, record.width, framing.size, framing.max_size))
        return draw_warp(rng, self._strength, record.height, record.width, framing.size, framing.max_size)

    def _crops(self, index: int, record: Image, warp: Warp) -> list[Crop]:
        """The instances that have pixels left after a change of frame."""
        items = [item for item in self._annotations.items(index) if not item.iscrowd]
        crops = [(item.label, warp.crop(item.segmentation, record.height, record.width)) for item in items]
        return [Crop(label, *crop) for label, crop in crops if crop is not None]

    def _pasted(self, rng: np.random.Generator, image: Any, crops: list[Crop]) -> tuple[Any, list[Crop]]:
        """Instances of another picture over this one."""
        other = int(rng.integers(len(self)))
        record = self._annotations.image(other)
        warp = self._warp(rng, record)
        pixels = resize_rgb(self._pixels(record), warp.height, warp.width)
        return paste(rng, image, crops, warp.image(pixels), self._crops(other, record, warp))

    def _label_map(self, index: int, record: Image, warp: Warp) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        frame = np.zeros((record.height, record.width), np.uint8)
        label_map = warp.image(frame, fill=IGNORED)  # what lies outside the picture may not be learnt
        if self._uncovered == "ignore":
            label_map[:] = IGNORED
        for item in self._annotations.items(index):
            if (crop := warp.crop(item.segmentation, record.height, record.width)) is not None:
                top, left, bitmap = crop
                window = label_map[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
                window[bitmap > 0] = IGNORED if item.iscrowd else item.label
        return label_map


def pictures_for_training(dataset: Dataset, card: ModelCard, config: TrainConfig) -> Pictures:
    """What a run learns from."""
    return Pictures(
        dataset,
        card.framing,
        seed=config.seed,
        augment=config.augment,
        boxes_will_do=config.model == "fasterrcnn",
        replace_bad=config.bad_pictures == "skip",
    )


def pictures_for_evaluation(dataset: Dataset, card: ModelCard) -> Pictures:
    """Whole pictures, unvaried and without targets."""
    return Pictures(dataset, card.framing, seed=0, augment=None, boxes_will_do=True, targets=False)


def load_for_model(pixels: "np.ndarray[Any, np.dtype[np.uint8]]", framing: Framing) -> Tensor:
    """A picture [H, W, 3] as the model gets it in evaluation and prediction: uint8 [3, H, W]."""
    if framing.kind == "semantic":
        return _to_tensor(pixels)
    return _to_tensor(resize_rgb(pixels, *fit(pixels.shape[0], pixels.shape[1], framing.size, framing.max_size)))


def _to_tensor(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous()


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


def batches_of(loader: "DataLoader[Any]") -> Iterator[list[Sample] | SegkitError]:
    """The loader's batches; in the place of one with a picture that cannot be loaded, the error that names it."""
    for batch in loader:
        yield next((sample for sample in batch if isinstance(sample, SegkitError)), batch)
