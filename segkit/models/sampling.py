"""Which regions a detector learns from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from segkit.models.host_counts import on_host, places_of


class SeededSampler:
    """Chooses the regions that a detector learns from, at random, with at most a given fraction of positive ones.

    The same as torchvision's ``BalancedPositiveNegativeSampler``, with a seed for every image where ``seeds`` are set,
    and one wait for a GPU where torchvision has four for each image.
    """

    seeds: Sequence[int] = ()

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction

    def __call__(self, matched_idxs: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The places of the chosen positive and negative regions of every image, in ascending order.

        Args:
            matched_idxs: For every image, the label of each region: 0 for background, less where it does not count.
        """
        most = int(self.batch_size_per_image * self.positive_fraction)
        seeds: Sequence[int | None] = self.seeds or [None] * len(matched_idxs)
        masks = [(labels >= 1, labels == 0) for labels in matched_idxs]
        counts = on_host(torch.stack([mask.sum() for pair in masks for mask in pair]))
        chosen = []
        for i, ((positive, negative), seed) in enumerate(zip(masks, seeds, strict=True)):
            generator = None if seed is None else torch.Generator(positive.device).manual_seed(seed)
            found = _some(positive, counts[2 * i], most, generator)
            left = self.batch_size_per_image - len(found)
            chosen.append((found, _some(negative, counts[2 * i + 1], left, generator)))
        return chosen


def _some(candidates: Tensor, count: int, most: int, generator: torch.Generator | None) -> Tensor:
    """At most ``most`` places of the ``count`` candidates in a mask [R], at random, in ascending order."""
    order = torch.randperm(count, generator=generator, device=candidates.device)[:most]
    return places_of(candidates, count)[order].sort().values
