"""How large a picture may be for a model to get it whole, by the memory that is left: said before the first picture.

The model predicts two small images of noise; the bytes of the tensors that are alive at most, beside the number of
pixels, make a line, which goes on to larger images.
"""

import os
from dataclasses import dataclass

from segkit.inference.model import LoadedModel
from segkit.runtime.available import available_memory
from segkit.runtimes.files import format_of
from segkit.units import format_bytes

_SIDES = (128, 256)  # of the images that are tried
_SHARE = 0.8  # of what is left: the rest is for workspaces of convolutions, and for pictures that wait
_LEAST = 64 * 64  # pixels


@dataclass(frozen=True, slots=True)
class WhatFits:
    """What a model needs for one image, and what there is.

    Attributes:
        left: Bytes that are left.
        each: Bytes for each pixel, as the model gets it.
        always: Bytes for an image of any size.
    """

    left: int
    each: float
    always: float

    @property
    def pixels(self) -> int:
        """The most pixels of an image that fits."""
        return max(_LEAST, int((self.left * _SHARE - self.always) / self.each))

    def describe(self, pixels: int) -> str:
        """What an image of so many pixels needs, beside what there is."""
        return f"whole it needs about {format_bytes(int(self.always + self.each * pixels))}, and " + (
            f"{format_bytes(self.left)} are left"
        )


def measure(model: LoadedModel) -> WhatFits | None:
    """Measure a model of PyTorch on its device; None where what it allocates cannot be seen, as in other runtimes."""
    if model.device is None or format_of(model.path) not in (None, "safetensors"):
        return None
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if model.device.type == "cpu" else 1
    left = available_memory(model.device) // here
    peaks = [_peak(model, side) for side in _SIDES]
    each = max(1.0, (peaks[1] - peaks[0]) / (_SIDES[1] ** 2 - _SIDES[0] ** 2))
    return WhatFits(left, each, max(0.0, peaks[0] - each * _SIDES[0] ** 2))


def _peak(model: LoadedModel, side: int) -> int:
    """The bytes of tensors that are alive at most while an image of noise is predicted."""
    import torch

    from segkit.memory.measure.tracker import LiveTensors  # noqa: PLC0415 -- as torch: files predict without it

    noise = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (model.card.channels, side, side), dtype=torch.uint8, generator=noise)
    live = LiveTensors()
    with torch.inference_mode(), live:
        if model.maps is not None:
            model.maps([image.to(model.device)])
        else:
            model.predict([image.to(model.device)])
    return live.peak
