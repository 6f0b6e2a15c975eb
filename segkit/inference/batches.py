"""Predictions batch by batch; where memory runs out, with fewer images at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segkit.errors import DeviceError
from segkit.models.tensors import Prediction
from segkit.progress import Progress
from segkit.runtime.device import autocast, free_memory, is_out_of_memory

Predict = Callable[[Sequence[Tensor]], list[Prediction]]


class BatchPredictor:
    """Predicts batches; from the first that runs out of memory on, with half as many images at once."""

    def __init__(
        self,
        predict: Predict,
        device: torch.device,
        dtype: torch.dtype,
        batch: int,
        progress: Progress,
        activity: str = "evaluating",
    ) -> None:
        """Nothing is halved yet.

        Args:
            predict: The model, in evaluation mode.
            device: Where it computes.
            dtype: What autocast computes in.
            batch: Images at once.
            progress: Shows each halving.
            activity: What messages call the work.
        """
        self._predict, self._device, self._dtype = predict, device, dtype
        self._at_once, self._progress, self._activity = batch, progress, activity
        self.batch = batch

    def __call__(self, images: Sequence[Tensor], names: Sequence[str]) -> list[Prediction]:
        """The predictions of a batch.

        Args:
            images: uint8 [3, H, W] each, on any device.
            names: Of the images, for messages.

        Raises:
            DeviceError: A single image needs more memory than there is.
        """
        predictions: list[Prediction] = []
        retries_single = False
        while len(predictions) < len(images):
            part = slice(len(predictions), len(predictions) + self._at_once)
            found = self._try(images[part])
            if found is not None:
                predictions += found
                retries_single = False
                continue
            free_memory(self._device)
            self._halve(images[part], names[part], retries_single)
            retries_single = len(images[part]) == 1
        return predictions

    def _try(self, images: Sequence[Tensor]) -> list[Prediction] | None:
        try:
            with autocast(self._device, self._dtype):
                return self._predict([image.to(self._device) for image in images])
        except (RuntimeError, MemoryError) as error:
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
            raise DeviceError(
                f"out of memory while {self._activity} {largest}",
                "try another --device, or a model of a smaller --size",
            )
        self._at_once = -(-len(images) // 2)
        self._progress.note(
            f"out of memory while {self._activity} {len(images)} pictures at once, the largest {largest}; "
            f"going on with {self._at_once}"
        )
