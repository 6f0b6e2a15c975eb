"""What a rank of ``--shard`` holds besides its own parts: parameters gathered from the others, and their gradients."""

from dataclasses import dataclass
from typing import Self

from torch import nn

from segkit.training.plan import Plan
from segkit.training.shards import num_values, units_of


@dataclass(frozen=True, slots=True)
class ShardedBytes:
    """Bytes on one rank, in fp32.

    Attributes:
        in_step: At most in a training step: what belongs to no unit, with its gradients and the buffer in which they
            are summed, and two units with gradients (one computes while the next is gathered, or summed).
        whole: In an evaluation: the whole model.
    """

    in_step: int
    whole: int

    @classmethod
    def of(cls, plan: Plan, module: nn.Module, ranks: int) -> Self | None:
        """Those of a run; None where it does not share a model over ranks.

        Args:
            plan: The run.
            module: Its model.
            ranks: How many there are.
        """
        if not plan.config.shard or ranks == 1:
            return None
        size = next(module.parameters()).element_size()
        units = sorted((size * num_values(unit) for unit in units_of(module)), reverse=True)
        whole = size * num_values(module)
        rest = whole - sum(units)
        buffers = sum(each.numel() * each.element_size() for each in module.buffers())
        return cls(2 * rest + max(rest, 2 * sum(units[:2])), whole + buffers)
