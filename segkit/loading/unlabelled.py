"""Images without annotations: each in a weak view, which a teacher sees, and a strong one, which the student sees.

Both views show the same part of the image at the same place (Sohn et al. 2020, https://arxiv.org/abs/2001.07685; for
detectors Liu et al. 2021, https://arxiv.org/abs/2102.09480): what is found in one is where it is in the other.
"""

import cv2
import numpy as np
import numpy.typing as npt
import torch

from segkit.data.label_maps import IGNORED
from segkit.loading.augment import Strength, augment_pixels
from segkit.loading.dataset import Pictures, to_tensor
from segkit.loading.decode import resize_rgb
from segkit.loading.sampler import Key
from segkit.loading.whole import Sample
from segkit.models.tensors import Target

_STRONG = Strength(light=0.4, colour=0.2, erase=0.7)
_ERASED, _GREY, _BLURRED = 3, 0.2, 0.5  # rectangles at most, and probabilities
_RGB = 3
_STREAM = 3  # of random numbers: those of labelled images are others


class UnlabelledPictures(Pictures):
    """The images of a dataset without annotations, by key; both views are in the sample."""

    def _rng(self, key: Key) -> np.random.Generator:
        return np.random.default_rng([self._seed, _STREAM, key.epoch, key.image])

    def _load(self, key: Key) -> Sample:
        record, rng = self._annotations.image(key.image), self._rng(key)
        warp = self._warp(rng, record)
        weak = warp.image(resize_rgb(self._pixels(record), warp.height, warp.width))
        target: Target = {"weak": to_tensor(weak), "seed": int(rng.integers(1 << 62))}
        if key.frame is not None:
            target["frame"] = key.frame
        if self._framing.kind == "semantic":
            whole = np.zeros((record.height, record.width), np.uint8)
            target["semantic"] = torch.from_numpy(warp.label_map(whole, IGNORED))
        return Sample(to_tensor(strong_view(rng, weak)), target, record, key=key)


def strong_view(rng: np.random.Generator, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An image [H, W, C] with other colours, grey or blurred at times, and up to three rectangles erased."""
    if rng.random() < _GREY and pixels.shape[2] == _RGB:
        pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    if rng.random() < _BLURRED:
        blurred = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.1, 2.0)))
        pixels = blurred.reshape(pixels.shape).astype(np.uint8)
    pixels = augment_pixels(rng, _STRONG, pixels)
    for _ in range(_ERASED - 1):
        pixels = augment_pixels(rng, Strength(erase=_STRONG.erase), pixels)
    return pixels
