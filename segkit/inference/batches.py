"""Predictions batch by batch, each image as if it were alone; where memory runs out, with fewer images at once."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from segkit.errors import DeviceError
from segkit.models.sizes import padded_frame
from segkit.progress import Progress
from segkit.runtime.memory_errors import is_out_of_memory

if TYPE_CHECKING:
    import torch

_HINT = "try another --device, or a model of a smaller --size"
Predict = Callable[[Sequence[Any]], list[Any]]
"""Images (uint8 [C, H, W] each) -> a ``Prediction`` for each: tensors, or arrays where a model needs no PyTorch."""


class DoesNotFit(DeviceError):
    """A single image needs more memory than there is."""


@contextmanager
def memory_for(what: str, image: Any) -> Iterator[None]:
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


def computing(function: Predict, device: "torch.device | None") -> Predict:
    """A model as a function of images on the host.

    Args:
        function: The model.
        device: Where PyTorch computes it; None: it takes arrays as they are, and needs no PyTorch.
    """
    if device is None:
        return function
    from segkit.runtime.device import on_device  # noqa: PLC0415 -- not where files predict without PyTorch

    return on_device(function, device)


def _freeing(device: "torch.device | None") -> Callable[[], object]:
    if device is None:
        return gc.collect
    from segkit.runtime.device import free_memory  # noqa: PLC0415 -- likewise

    return partial(free_memory, device)


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
        device: "torch.device | None",
        batch: int,
        progress: Progress,
        activity: str = "evaluating",
    ) -> None:
        """Nothing is halved yet.

        Args:
            predict: The model, in evaluation mode.
            device: Where PyTorch computes it; None: it takes arrays, and needs no PyTorch.
            batch: Images at once.
            progress: Shows each halving.
            activity: What messages call the work.
        """
        self._predict, self._free = computing(predict, device), _freeing(device)
        self._at_once, self._progress, self._activity = batch, progress, activity
        self.batch = batch

    def __call__(self, images: Sequence[Any], names: Sequence[str]) -> list[Any]:
        """The predictions of a batch.

        Args:
            images: uint8 [C, H, W] each.
            names: Of the images, for messages.

        Raises:
            DoesNotFit: A single image needs more memory than there is.
        """
        predictions: dict[int, Any] = {}
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
            self._free()
            self._halve(part, part_names, retries_single)
            retries_single = len(part) == 1
        return [predictions[i] for i in range(len(images))]

    def _try(self, images: Sequence[Any]) -> list[Any] | None:
        try:
            return self._predict(images)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _halve(self, images: Sequence[Any], names: Sequence[str], last_try: bool) -> None:
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


def _places_by_frame(images: Sequence[Any]) -> list[list[int]]:
    """The places of images that are padded to the same frame, by frame."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, image in enumerate(images):
        height, width = image.shape[-2:]
        groups.setdefault(padded_frame(height, width), []).append(place)
    return list(groups.values())
