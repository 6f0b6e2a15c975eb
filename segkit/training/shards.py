"""``--shard``: parameters, gradients and optimiser state spread over ranks, by PyTorch's ``fully_shard`` (FSDP2).

Each rank holds a part of every parameter (rows of its first dimension). Before a unit computes, its ranks gather its
parameters; after its backward pass they sum its gradients, and each keeps its part. The units are the stages of the
feature extractor, which every rank computes once in every forward pass. All else is one unit: what a detector's heads
compute depends on the images, and ranks that gather different units would wait for one another for ever.
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from segkit.errors import ConfigError, DeviceError
from segkit.models.adapt import body_of
from segkit.models.backbones import Body
from segkit.runtime.join import is_lost_connection
from segkit.runtime.memory_errors import is_out_of_memory
from segkit.runtime.ranks import RankLost, Ranks
from segkit.training.gradients import SharedGradients

FUSED_ON_PARTS = ("adamw", "adam")
"""Optimizers whose fused kernels take parts of parameters (DTensor)."""

_LEAST = 0.02  # of the parameters: a smaller stage is gathered with all else


def shard(module: nn.Module, ranks: Ranks) -> None:
    """Move a model to the ranks' devices, a part of every parameter to each; rank 0's values count.

    Args:
        module: On the host, alike on all ranks; its optimizer is made afterwards.
        ranks: The processes that share it.

    Raises:
        ConfigError: This version of PyTorch cannot.
    """
    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise ConfigError(f"--shard needs a newer PyTorch than {torch.__version__}", "or leave --shard out")
    everybody = dist.group.WORLD
    assert everybody is not None
    mesh = DeviceMesh.from_group(everybody, ranks.device.type)
    for unit in (*units_of(module), module):  # one after the other: a device never holds more than one of them whole
        _move(unit, ranks)
        sharded = fully_shard(unit, mesh=mesh, reshard_after_forward=unit is not module)
        sharded.set_gradient_divide_factor(1.0)  # each loss is this rank's part of the batch's: a sum, as without
        sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no other
        sharded.set_reduce_scatter_unused_params(True)  # which layers compute depends on the images of a rank


def units_of(module: nn.Module) -> list[nn.Module]:
    """The parts of a model whose parameters are gathered by themselves; all else is gathered for the whole step."""
    body = body_of(module)
    if isinstance(body, Body):
        stages = [stage for _, stage in body.stages()]
    else:  # a transformer: its layers
        lists = [each for each in body.modules() if isinstance(each, nn.ModuleList)]
        longest: nn.Module = max(lists, key=num_values)
        stages = list(longest.children())
    return [stage for stage in stages if num_values(stage) >= _LEAST * num_values(module)]


def num_values(module: nn.Module) -> int:
    """How many numbers its parameters are."""
    return sum(parameter.numel() for parameter in module.parameters())


def _move(unit: nn.Module, ranks: Ranks) -> None:
    """Move what is not spread over ranks yet to the device, with the values of rank 0."""
    for value in (*unit.parameters(), *unit.buffers()):
        if not isinstance(value, DTensor):
            value.data = value.data.to(ranks.device)
            dist.broadcast(value.data, 0)


def local(value: Tensor) -> Tensor:
    """This rank's part of a tensor; without ranks that share it, the tensor."""
    return value.to_local() if isinstance(value, DTensor) else value


def whole(content: Any, ranks: Ranks) -> Any:
    """Nested values with whole tensors on the host in place of parts, on rank 0; on the others without them.

    Every rank must call this. One tensor at a time is whole on a device.
    """
    if isinstance(content, DTensor):
        full = content.full_tensor()
        return full.cpu() if ranks.is_main else None
    if isinstance(content, dict):
        return {key: whole(value, ranks) for key, value in content.items()}
    return [whole(each, ranks) for each in content] if isinstance(content, list) else content


def copy_whole(sharded: nn.Module, module: nn.Module) -> None:
    """Copy the weights of a model that is spread over ranks to the same model without; every rank must call this."""
    values = module.state_dict()
    for name, value in sharded.state_dict().items():
        values[name].copy_(value.full_tensor() if isinstance(value, DTensor) else value)


def load_whole(module: nn.Module, optimizer: torch.optim.Optimizer, content: dict[str, Any]) -> None:
    """Set a model and its optimizer to the state in a checkpoint, of which each rank takes its parts.

    Args:
        module: Spread over ranks.
        optimizer: Of its parameters.
        content: The checkpoint, on the host.

    Raises:
        ValueError: The checkpoint is of another model.
    """
    weights, own = content["model"], module.state_dict()
    if set(weights) != set(own) or any(weights[name].shape != value.shape for name, value in own.items()):
        raise ValueError("other weights")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(_part(weights[name], value))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    stored = content["optimizer"]
    state = {
        place: {
            name: _part(value, parameters[place]) if _is_like(value, parameters[place]) else value
            for name, value in values.items()
        }
        for place, values in stored["state"].items()
    }
    optimizer.load_state_dict(stored | {"state": state})


def _is_like(value: object, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _part(value: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor, spread as another one is."""
    value = value.to(like.device)
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def explain_failure(error: Exception, images: str, run: Path) -> None:
    """Raise what a user can do where memory ran out, or another rank has ended: the others wait for what this one has.

    Args:
        error: That ended a forward or backward pass.
        images: Its images.
        run: The folder of the run.

    Raises:
        DeviceError: In place of the error; other ones are left to the caller.
    """
    hint = f"if the run has a last.pt, go on with fewer at once: segkit train --resume {run} --micro-batch N"
    if is_out_of_memory(error):
        what = f"out of memory with {images}, and with --shard a step is not repeated in smaller parts"
        raise DeviceError(what, hint) from None
    if is_lost_connection(error):
        raise RankLost("another rank has ended, and this one with it", hint) from None


class ShardedGradients(SharedGradients):
    """Gradients of which each rank has its part: backward itself sums them over ranks, unit by unit."""

    def _begin(self, module: nn.Module) -> None:
        """Nothing to prepare: ``shard`` did."""

    def clear(self) -> None:
        """Delete them."""
        for parameter in self._trainable:
            parameter.grad = None

    def keep_zeros(self) -> None:
        """See ``SharedGradients``."""
        for parameter in self._trainable:
            if parameter.dim() > 1 and parameter.grad is not None:
                local(parameter.grad).masked_fill_(local(parameter) == 0, 0.0)

    def clip(self, max_norm: float) -> float:
        """Scale the gradients down to a norm of ``max_norm`` (0: no limit); returns their norm before, of all ranks."""
        parts = [local(parameter.grad) for parameter in self._trainable if parameter.grad is not None]
        own = float(nn.utils.get_total_norm(parts))
        norm = math.sqrt(self._ranks.sum([own**2])[0])
        if 0 < max_norm < norm:
            for part in parts:
                part.mul_(max_norm / (norm + 1e-6))
        return norm
