"""Predictions batch by batch, each image as if it were alone; where memory runs out, with fewer images at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from segkit.errors import DeviceError
from segkit.models.backbones import padded_frame
from segkit.models.tensors import Prediction
from segkit.progress import Progress
from segkit.runtime.device import fp32_precision, free_memory, is_out_of_memory

_HINT = "try another --device, or a model of a smaller --size"
Predict = Callable[[Sequence[Tensor]], list[Prediction]]


class DoesNotFit(DeviceError):
    """A single image needs more memory than there is."""


@contextmanager
def memory_for(what: str, image: Tensor) -> Iterator[None]:
    """Raise an error that tells of memory as ``DoesNotFit``.

    Args:
        what: The image, in the message.
        image: As the model gets it.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        height, width = image.shape[-2:]
        raise DoesNotFit(f"out of memory while predicting {what} ({height}x{width} as the model gets it)", _HINT) from (
            None
        )


class BatchPredictor:
    """Predicts batches; from the first that runs out of memory on, with half as many images at once.

    An image's prediction is the one that the model gives for it alone. Models pad the images that they get at once to
    one frame, and convolutions and group norms see the padding; so only images whose frames are equal go through the
    model together. Memory follows the largest image for the same reason. Predictions and scores are computed in fp32
    on every device: bf16 rounds differently for each batch size, and scores differ by 0.01 then.
    """

    def __init__(
        self,
        predict: Predict,
        device: torch.device,
        batch: int,
        progress: Progress,
        activity: str = "evaluating",
    ) -> None:
        """Nothing is halved yet.

        Args:
            predict: The model, in evaluation mode.
            device: Where it computes.
            batch: Images at once.
            progress: Shows each halving.
            activity: What messages call the work.
        """
        self._predict, self._device = predict, device
        self._at_once, self._progress, self._activity = batch, progress, activity
        self.batch = batch

    def __call__(self, images: Sequence[Tensor], names: Sequence[str]) -> list[Prediction]:
        """The predictions of a batch.

        Args:
            images: uint8 [3, H, W] each, on any device.
            names: Of the images, for messages.

        Raises:
            DoesNotFit: A single image needs more memory than there is.
        """
        predictions: dict[int, Prediction] = {}
        retries_single = False
        todo = _places_by_frame(images)
        while todo:
            places = todo[0][: self._at_once]
            part, part_names = [images[i] for i in places], [names[i] for i in places]
            found = self._try(part)
            if found is not None:
                predictions |= zip(places, found, strict=True)
                todo = [left for left in (todo[0][len(places) :], *todo[1:]) if left]
                retries_single = False
                continue
            free_memory(self._device)
            self._halve(part, part_names, retries_single)
            retries_single = len(part) == 1
        return [predictions[i] for i in range(len(images))]

    def _try(self, images: Sequence[Tensor]) -> list[Prediction] | None:
        try:
            with fp32_precision(self._device):
                return self._predict([image.to(self._device) for image in images])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _halve(self, images: Sequence[Tensor], names: Sequence[str], last_try: bool) -> None:
        """Predict half as many images at once from now on; a single one is tried twice, as memory was freed."""
        height, width, name = max(
            ((*image.shape[-2:], name) for image, name in zip(images, names, strict=True)),
            key=lambda each: each[0] * each[1],
        )
        largest = f"{name} ({height}x{width} as the model gets it)"
        if last_try:
            raise DoesNotFit(f"out of memory while {self._activity} {largest}", _HINT)
        if len(images) == 1:
            self._progress.note(f"out of memory while {self._activity} {largest}; trying once more")
            return
        self._at_once = -(-len(images) // 2)
        self._progress.note(
            f"out of memory while {self._activity} {len(images)} pictures at once, the largest {largest}; "
            f"going on with {self._at_once}"
        )


def _places_by_frame(images: Sequence[Tensor]) -> list[list[int]]:
    """The places of images that are padded to the same frame, by frame."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, image in enumerate(images):
        height, width = image.shape[-2:]
        groups.setdefault(padded_frame(height, width), []).append(place)
    return list(groups.values())
