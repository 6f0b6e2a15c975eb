"""One try of a bottled step: from the same start, on the same images or on some of them."""

import math
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segkit.errors import DeviceError, SegkitError
from segkit.loading.whole import Sample
from segkit.runtime.device import free_memory
from segkit.training.failures.step_failure import Kind, not_finite
from segkit.training.gradients import copy_statistics, restore_statistics
from segkit.training.state import set_random_state
from segkit.training.step import Training, forward_backward, optimizer_step


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a step gave.

    Attributes:
        kind: What failed; None: nothing.
        message: In a line; empty where nothing failed.
        trace: The traceback of an exception.
        losses: By name, as far as there are any.
        grad_norm: The norm of the gradients; None where the step did not come so far.
        layer: The first layer whose output was not finite.
    """

    kind: Kind | None
    message: str = ""
    trace: str | None = None
    losses: dict[str, float] | None = None
    grad_norm: float | None = None
    layer: str | None = None


def attempt(training: Training, samples: Sequence[Sample], start: dict[str, Any], *, update: bool = False) -> Attempt:
    """Run a step; the model is afterwards what it was before, unless the weights are updated.

    Args:
        training: The training, of one rank.
        samples: The images.
        start: The random state and the loss scale that the step begins with.
        update: Whether the optimizer steps, too.
    """
    state, device = training.state, training.ranks.device
    statistics = copy_statistics(state.module)
    state.scaler = torch.amp.GradScaler(device.type, enabled=training.plan.dtype is torch.float16)
    if start["scaler"] and state.scaler.is_enabled():
        state.scaler.load_state_dict(start["scaler"])
    set_random_state(start["random"], device)
    training.teaching.begin()
    layers: list[str] = []
    try:
        # Hooks would break up what is compiled.
        with nullcontext() if training.plan.config.compile else _noting_first_nonfinite(state.module, layers):
            losses, failure = forward_backward(training, list(samples))
        if failure is not None:
            return Attempt("out of memory", failure.message)
        numbers: dict[str, float] = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
        norm = _norm(training, numbers, statistics, update=update)
    except DeviceError as error:
        return Attempt("out of memory", error.message)
    except SegkitError:
        raise
    except Exception as error:
        return Attempt("exception", f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
    finally:
        restore_statistics(statistics)
        training.gradients.clear()
        free_memory(device)
    found = not_finite(numbers, numbers, norm, scaled=state.scaler.is_enabled())
    if found is None:
        return Attempt(None, losses=numbers, grad_norm=norm)
    return Attempt("not finite", found.message, losses=numbers, grad_norm=norm, layer=next(iter(layers), None))


def _norm(training: Training, losses: dict[str, float], statistics: Any, *, update: bool) -> float:
    """The norm of the gradients, as the step of the training computes it."""
    if update:
        return optimizer_step(training, losses, statistics)
    training.state.scaler.unscale_(training.state.optimizer)
    return training.gradients.clip(training.plan.config.clip_grad or 0.0)


@contextmanager
def _noting_first_nonfinite(module: nn.Module, names: list[str]) -> Iterator[None]:
    """Append the names of layers whose output is not finite, where all that went into them was."""

    def look(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        if not names and not _is_finite(output) and _is_finite(inputs):
            names.append(name)

    hooks = [
        layer.register_forward_hook(lambda _, inputs, output, name=name: look(name, inputs, output))
        for name, layer in module.named_modules()
        if name and not any(layer.children())
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(_is_finite(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(_is_finite(each) for each in value)
    return not isinstance(value, float) or math.isfinite(value)
