"""Where a training step waits for a GPU: whole numbers that decide how large the next tensors are."""

import torch
from torch import Tensor


def on_host(counts: Tensor) -> list[int]:
    """Whole numbers [N] of a device, on the host.

    The host waits until the device has computed them, and launches nothing meanwhile: numbers that are needed at about
    the same time are read together. ``segkit.memory.simulate.detector_bounds`` answers in the place of fake tensors, by
    the name of the function that asks.
    """
    numbers: list[int] = counts.tolist()
    return numbers


def places_of(mask: Tensor, count: int) -> Tensor:
    """The places [count] in a mask [R] that are set, as ``torch.where`` gives them, without a wait.

    Args:
        mask: Has ``count`` places that are set.
        count: As ``on_host`` told.
    """
    places: Tensor = torch.nonzero_static(mask, size=count)
    return places[:, 0]
