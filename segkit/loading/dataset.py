"""Images and targets as tensors.

How an image is augmented is a pure function of seed, epoch and image: a resumed run, another number of workers, and
ranks that share a batch see the very same pixels.
"""

from collections.abc import Collection, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from segkit.choices import AugmentLevel
from segkit.data.depth import Levels
from segkit.data.geometry import Framing, Warp
from segkit.data.label_maps import IGNORED, paint_labels
from segkit.data.records import Dataset, Image
from segkit.data.touching import normalised_distances, paint_instances
from segkit.errors import SegkitError
from segkit.loading.augment import STRENGTHS, augment_pixels, paint_over, paste, random_warp
from segkit.loading.decode import decode_framed, resize_rgb
from segkit.loading.packed import FlatAnnotations
from segkit.loading.sampler import Key
from segkit.loading.whole import Sample
from segkit.models.tensors import BoxMask, Target, box_masks_to_target, labels_of

_SUBSTITUTES = 10  # images tried in place of one that cannot be loaded, before the dataset counts as broken

Pixels = npt.NDArray[np.uint8]


def to_device(samples: Sequence[Sample], device: torch.device) -> tuple[list[Tensor], list[Target]]:
    """The images and targets of samples on a device; copies from pinned memory do not wait."""
    images = [torch.as_tensor(sample.image).to(device, non_blocking=True) for sample in samples]
    targets = []
    for target in (sample.target for sample in samples):
        moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in target.items()}
        if "box_masks" in target:
            moved["corners"] = target["boxes"].long().tolist()  # while they are here
        targets.append(moved)
    return images, cast(list[Target], targets)


def pinned(batch: Sequence[Sample | SegkitError]) -> list[Sample | SegkitError]:
    """A batch in pinned memory."""
    return [_pin(each) if isinstance(each, Sample) else each for each in batch]


def _pin(sample: Sample) -> Sample:
    target = {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in sample.target.items()}
    return sample._replace(image=torch.as_tensor(sample.image).pin_memory(), target=cast(Target, target))


class Pictures(TorchDataset["Sample | SegkitError"]):
    """The images of a dataset with their targets, by key.

    Where an image cannot be loaded, the error is returned: one image that fails does not take its batch with it.
    """

    def __init__(
        self,
        dataset: Dataset,
        framing: Framing,
        levels: Levels | None = None,
        *,
        seed: int,
        augment: AugmentLevel,
        accept_boxes: bool,
        distances: bool = False,
        stuff: Collection[int] | None = None,
        replace_bad: bool = False,
    ) -> None:
        """Pack a dataset for loading.

        Args:
            dataset: What to load.
            framing: How images are brought to size.
            levels: What values of more than 8 bits become.
            seed: Seed of the augmentation.
            augment: How strongly training images are changed.
            accept_boxes: For models of boxes: learn the annotated box where it is not the segmentation's.
            distances: Whether label maps come with the normalised distances of their instances.
            stuff: Of a model that finds things and stuff: the labels that are no instances, of which a label map is
                learnt, in which things are, too.
            replace_bad: Replace an image that cannot be loaded by the next one.
        """
        self._with_distances, self._replace_bad = distances, replace_bad
        self._stuff = stuff
        self._annotations = FlatAnnotations(dataset, labels_of(dataset.categories), accept_boxes=accept_boxes)
        self._path_of, self._levels, self._uncovered = dataset.paths.of, levels, dataset.uncovered
        self._framing, self._seed = framing, seed
        self._strength = STRENGTHS[augment]

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, key: Key) -> Sample | SegkitError:
        try:
            return self._load(key)
        except SegkitError as error:
            return self._substitute(key, error) if self._replace_bad else error

    def _substitute(self, key: Key, error: SegkitError) -> Sample | SegkitError:
        """The next image that can be loaded."""
        for further in range(1, min(_SUBSTITUTES, len(self))):
            try:
                other = self._load(key._replace(image=(key.image + further) % len(self)))
            except SegkitError:
                continue
            return other._replace(instead_of=error.message)
        return error

    def file_name(self, key: Key) -> str:
        """The name of an image's file."""
        return self._annotations.image(key.image).file_name

    def frame_of(self, key: Key) -> tuple[int, int]:
        """Height and width of an image as the model will get it, without loading it."""
        return self._warp(self._rng(key), self._annotations.image(key.image)).out

    def _rng(self, key: Key) -> np.random.Generator:
        return np.random.default_rng([self._seed, key.epoch, key.image, *([key.copy] if key.copy else [])])

    def _load(self, key: Key) -> Sample:
        record, rng = self._annotations.image(key.image), self._rng(key)
        pixels = self._pixels(record)
        warp = self._warp(rng, record)
        image = augment_pixels(rng, self._strength, warp.image(resize_rgb(pixels, warp.height, warp.width)))
        if self._framing.kind == "semantic":
            labels = self._label_map(key.image, record, warp)
            target: Target = {"semantic": torch.from_numpy(labels)}
            if self._with_distances:
                instances = paint_instances(labels, [mask.crop for mask in self._masks(key.image, record, warp)])
                target["distances"] = torch.from_numpy(normalised_distances(instances))
        else:
            masks, pasted = self._masks(key.image, record, warp), list[BoxMask]()
            if rng.random() < self._strength.paste:
                image, masks, pasted = self._pasted(rng, image, masks)
            target = box_masks_to_target([*masks, *pasted])
            if self._stuff is not None:
                labels = paint_over(self._label_map(key.image, record, warp), pasted)
                target["semantic"] = torch.from_numpy(labels)
        # 62 bits of their own: what the model draws at random is independent of the augmentation
        seed = np.random.SeedSequence([self._seed, 2, key.epoch, key.image, key.copy]).generate_state(1, np.uint64)
        target["seed"] = int(seed[0] >> 2)
        if key.frame is not None:
            target["frame"] = key.frame
        return Sample(to_tensor(image), target, record, key=key)

    def _pixels(self, record: Image) -> Pixels:
        return decode_framed(self._path_of(record), (record.height, record.width), self._levels)

    def _warp(self, rng: np.random.Generator, record: Image) -> Warp:
        return random_warp(rng, self._strength, record.height, record.width, self._framing)

    def _masks(self, index: int, record: Image, warp: Warp) -> list[BoxMask]:
        """The instances that have pixels left after a change of frame."""
        stuff = self._stuff or ()
        items = [item for item in self._annotations.items(index) if not item.iscrowd and item.label not in stuff]
        size, inside = (record.height, record.width), warp.inside()
        masks = [(item.label, warp.box_mask(item.segmentation, *size, inside)) for item in items]
        return [BoxMask(label, *mask) for label, mask in masks if mask is not None]

    def _pasted(
        self, rng: np.random.Generator, image: Pixels, masks: list[BoxMask]
    ) -> tuple[Pixels, list[BoxMask], list[BoxMask]]:
        """The image with instances of another one over it, what is left of its own ones, and these instances."""
        other = int(rng.integers(len(self)))
        record = self._annotations.image(other)
        warp = self._warp(rng, record)
        pixels = resize_rgb(self._pixels(record), warp.height, warp.width)
        return paste(rng, image, masks, warp.image(pixels), self._masks(other, record, warp))

    def _label_map(self, index: int, record: Image, warp: Warp) -> Pixels:
        """The label of every pixel in the new frame; outside the image it is ignored."""
        items = self._annotations.items(index)
        regions = ((item.segmentation, IGNORED if item.iscrowd else item.label) for item in items)
        elsewhere = IGNORED if self._uncovered == "ignore" else 0
        return warp.label_map(paint_labels(record.height, record.width, regions, elsewhere), IGNORED)


def to_tensor(pixels: Pixels) -> Tensor:
    """An image [H, W, 3] as uint8 [3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous()
