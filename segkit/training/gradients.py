"""Gradients summed over ranks, bucket by bucket, while the last backward pass is still on its way.

DistributedDataParallel does the same, but a rank that runs out of memory in that pass leaves the others waiting for
the buckets that it did not send, and there is no way to send them. Here ``finish`` sends what is missing, whatever
happened before: every rank sends every bucket exactly once in a step, so that ranks can then agree to try again.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit.runtime.ranks import Ranks

_BUCKET = 25 * 2**20  # bytes; as DDP's default: large enough for the bus, small enough to begin early


class SharedGradients:
    """The gradients of a model's learning parameters, and the figures of its batch norms, over all ranks.

    With several ranks gradients live in the buckets that are sent, so that they take no memory twice.
    """

    def __init__(self, module: nn.Module, ranks: Ranks) -> None:
        """Take over the gradients of a model in training mode; all ranks begin with the weights of the first."""
        self._ranks, self._alone = ranks, ranks.world_size == 1
        self._learning = [p for p in module.parameters() if p.requires_grad]
        self._statistics = [each for each in batch_statistics(module) if each.is_floating_point()]
        self._buckets: list[Tensor] = []
        self._bucket_of: dict[Tensor, int] = {}
        self._sizes: list[int] = []
        self._waiting: list[int] = []
        self._works: list[Any] = []
        self._sending = False
        if not self._alone:
            for value in module.state_dict().values():
                dist.broadcast(value, 0)
            self._make_buckets()

    def _make_buckets(self) -> None:
        some: list[nn.Parameter] = []
        for place, parameter in enumerate(reversed(self._learning)):  # roughly the order in which gradients come
            some.append(parameter)
            full = sum(p.numel() * p.element_size() for p in some) >= _BUCKET
            if full or place == len(self._learning) - 1:
                bucket, at = torch.zeros(sum(p.numel() for p in some), dtype=some[0].dtype, device=some[0].device), 0
                for p in some:
                    p.grad = bucket[at : at + p.numel()].as_strided(p.shape, p.stride(), at)
                    at += p.numel()
                    self._bucket_of[p] = len(self._buckets)
                    p.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]
                self._buckets.append(bucket)
                self._sizes.append(len(some))
                some = []

    def send_in_next_backward(self) -> None:
        """Begin to sum buckets as soon as the next backward pass has filled them."""
        self._sending = not self._alone
        self._waiting = list(self._sizes)

    def _arrived(self, parameter: Tensor) -> None:
        if self._sending:
            self._waiting[self._bucket_of[parameter]] -= 1
            while len(self._works) < len(self._buckets) and self._waiting[len(self._works)] == 0:
                self._send()

    def _send(self) -> None:
        self._works.append(dist.all_reduce(self._buckets[len(self._works)], async_op=True))

    def finish(self) -> None:
        """Send what was not sent yet, and wait until all ranks have the sums."""
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
        """Forget the gradients."""
        if self._alone:
            for parameter in self._learning:
                parameter.grad = None
        for bucket in self._buckets:
            bucket.zero_()

    def clip(self, largest: float) -> float:
        """Scale gradients down to a norm of ``largest`` (0: no limit); returns their norm before."""
        return float(nn.utils.clip_grad_norm_(self._learning, largest if largest > 0 else float("inf")))


def batch_statistics(module: nn.Module) -> list[Tensor]:
    """What batch norms count in training: running means and variances, and numbers of batches."""
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    return [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
