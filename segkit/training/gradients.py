"""Gradients summed over ranks, bucket by bucket, while the last backward pass is still running.

DistributedDataParallel does the same, but a rank that runs out of memory in that pass leaves the others waiting for
the buckets that it did not send, and there is no way to send them. Here ``finish`` sends what is missing, whatever
happened before: every rank sends every bucket exactly once in a step, so that all ranks can then repeat the step.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from segkit.models.backbones import updated_norms
from segkit.runtime.ranks import Ranks

_BUCKET = 25 * 2**20  # bytes; as DDP's default: large enough for the bus, small enough to begin early


class SharedGradients:
    """The gradients of a model's trainable parameters, and the statistics of its batch norms, over all ranks.

    With several ranks the gradients live in the buckets that are sent, so that they take no memory twice.
    """

    def __init__(self, module: nn.Module, ranks: Ranks) -> None:
        """Take over the gradients of a model in training mode; all ranks get the weights of rank 0."""
        self._ranks, self._alone = ranks, ranks.world_size == 1
        self._trainable = [p for p in module.parameters() if p.requires_grad]
        self._statistics = [each for each in batch_statistics(module) if each.is_floating_point()]
        self._buckets: list[Tensor] = []
        self._bucket_of: dict[Tensor, int] = {}
        self._num_parameters: list[int] = []  # in each bucket
        self._missing: list[int] = []  # gradients that each bucket still waits for
        self._works: list[Any] = []
        self._sending = False
        if not self._alone:
            self._begin(module)

    def _begin(self, module: nn.Module) -> None:
        for value in module.state_dict().values():
            dist.broadcast(value, 0)
        self._make_buckets()

    def _make_buckets(self) -> None:
        members: list[nn.Parameter] = []
        for place, parameter in enumerate(reversed(self._trainable)):  # roughly the order in which gradients come
            members.append(parameter)
            full = sum(p.numel() * p.element_size() for p in members) >= _BUCKET
            if full or place == len(self._trainable) - 1:
                bucket, at = members[0].new_zeros(sum(p.numel() for p in members)), 0
                for p in members:
                    p.grad = bucket[at : at + p.numel()].as_strided(p.shape, p.stride(), at)
                    at += p.numel()
                    self._bucket_of[p] = len(self._buckets)
                    p.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]
                self._buckets.append(bucket)
                self._num_parameters.append(len(members))
                members = []

    def send_in_next_backward(self) -> None:
        """Begin to sum each bucket as soon as the next backward pass has filled it."""
        self._sending = not self._alone
        self._missing = list(self._num_parameters)

    def _on_gradient(self, parameter: Tensor) -> None:
        if self._sending:
            self._missing[self._bucket_of[parameter]] -= 1
            while len(self._works) < len(self._buckets) and self._missing[len(self._works)] == 0:
                self._send()

    def _send(self) -> None:
        self._works.append(dist.all_reduce(self._buckets[len(self._works)], async_op=True))

    def finish(self) -> None:
        """Send the buckets that were not sent yet, and wait until all ranks have the sums."""
        if self._alone:
            return
        self._sending = False
        while len(self._works) < len(self._buckets):
            self._send()
        for work in self._works:
            work.wait()
        self._works = []
        if self._statistics:
            together = torch.cat([buffer.flatten() for buffer in self._statistics])
            dist.all_reduce(together)
            parts = torch.split(together / self._ranks.world_size, [b.numel() for b in self._statistics])
            for buffer, mean in zip(self._statistics, parts, strict=True):
                buffer.copy_(mean.view_as(buffer))

    def clear(self) -> None:
        """Delete the gradients; with several ranks, set them to zero in their buckets."""
        if self._alone:
            for parameter in self._trainable:
                parameter.grad = None
        for bucket in self._buckets:
            bucket.zero_()

    def keep_zeros(self) -> None:
        """Set the gradients of weights to zero that are zero, so that pruned ones stay so; biases and norms learn.

        An optimizer that has never seen another gradient of a weight does not move it.
        """
        for parameter in self._trainable:
            if parameter.dim() > 1 and parameter.grad is not None:
                parameter.grad.masked_fill_(parameter == 0, 0.0)

    def clip(self, max_norm: float) -> float:
        """Scale the gradients down to a norm of ``max_norm`` (0: no limit); returns their norm before."""
        return float(nn.utils.clip_grad_norm_(self._trainable, max_norm if max_norm > 0 else float("inf")))


def batch_statistics(module: nn.Module) -> list[Tensor]:
    """What batch norms update in training: running means, running variances, and numbers of batches."""
    return [buffer for layer in updated_norms(module) for buffer in layer.buffers(recurse=False)]


def copy_statistics(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The statistics of batch norms, each with a copy, for ``restore_statistics``."""
    return [(buffer, buffer.clone()) for buffer in batch_statistics(module)]


def restore_statistics(statistics: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Set the statistics of batch norms back to their copies."""
    for buffer, copy in statistics:
        buffer.copy_(copy)
