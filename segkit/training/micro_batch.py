"""How many pictures go through the model at once: as asked, or as many of the heaviest as fit into memory.

What is tried is worse than any real micro-batch can be: the pictures with the most instances, padded to the largest
frame that any picture can come in. An evaluation is tried too, beside what training keeps meanwhile. A GPU is tried
itself, which knows better than any model of it; on a CPU, whose allocator counts nothing, the same is rehearsed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import psutil
import torch

from segkit.errors import ConfigError, DeviceError
from segkit.loading.dataset import Pictures, Sample, pictures_for_evaluation
from segkit.loading.sampler import Key
from segkit.models.adapt import train_mode
from segkit.progress import Progress
from segkit.runtime.device import autocast, free_memory, is_out_of_memory, limit_memory
from segkit.runtime.ranks import Ranks
from segkit.training.gradients import batch_statistics
from segkit.training.plan import Plan
from segkit.training.rehearsal.batches import largest_to_evaluate, scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal
from segkit.training.state import TrainingState
from segkit.units import format_bytes

_SHARE = 0.95  # of the budget: what is left is for blocks of odd sizes between those in use
_STATES = {"adamw": 2, "adam": 2, "rmsprop": 2, "adagrad": 1, "sgd": 1}  # tensors an optimiser keeps by parameter


def choose_micro_batch(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress) -> None:
    """Set ``state.micro_batch``, alike on all ranks.

    A run that goes on keeps what it had, unless something else is asked for.

    Raises:
        DeviceError: Not even one picture fits.
        ConfigError: The norm makes ranks wait for one another inside the model.
        SegkitError: A picture that had to be tried cannot be loaded.
    """
    share, asked = plan.batch // ranks.world_size, plan.config.micro_batch
    if plan.config.vram is not None:
        limit_memory(ranks.device, plan.config.vram)
    wish = f"{asked} of {share} in {plan.config.vram}"
    if state.step > 0 and state.micro_batch_asked == wish:
        return
    state.micro_batch_asked = wish
    if asked != "auto":
        state.micro_batch = int(asked or share)
        return
    if plan.card.norm == "sync" and ranks.world_size > 1:
        raise ConfigError("--micro-batch auto cannot try sizes with --norm sync", "give a number, or --norm group")
    budget = _SHARE * (plan.config.vram or _free(ranks.device))
    trial: _Trial | _RehearsedTrial
    if ranks.device.type == "cuda":
        trial = _Trial(plan, state, ranks.device, share)
    else:
        trial = _RehearsedTrial(plan, ranks.world_size, share)
    needs: dict[int, int | None] = {}

    def fits(count: int) -> bool:
        needs[count] = peak = trial.peak(count)
        return peak is not None and peak <= budget

    most = most_that_fits(share, fits)
    found = min(ranks.gather(most))
    if found == 0:
        error = DeviceError(
            f"not even one picture at a time fits into {format_bytes(budget)}: {trial.heaviest}",
            "try a smaller --size, --memory low, --precision bf16, or a smaller --backbone",
        )
        error.everywhere = True
        raise error
    state.micro_batch = found
    progress.note(
        f"--micro-batch auto: {found} of {share} pictures at once"
        + (f" take {format_bytes(needs[most])} of {format_bytes(budget)}" if found == most else "")
        + f" (tried with {trial.heaviest})"
    )


def most_that_fits(share: int, fits: Callable[[int], bool]) -> int:
    """The most pictures at once, up to ``share``, that fit; 0 where not even one does."""
    most, too_many, tried = 0, share + 1, share
    while too_many - most > 1:
        if fits(tried):
            most = tried
        else:
            too_many = tried
        tried = (most + too_many) // 2
    return most


def _free(device: torch.device) -> int:
    """Bytes that this process may still take, or has."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device)


class _RehearsedTrial:
    """Steps and evaluations on tensors that have shapes and no memory, by this CPU's rules."""

    def __init__(self, plan: Plan, ranks: int, most: int) -> None:
        self._plan, self._ranks = plan, ranks
        self._evaluated = largest_to_evaluate(plan)
        scene = scenes_of(plan, most)[-1]
        first = scene.shapes[0]
        what = f"{first.instances} instances" if plan.card.framing.kind == "instances" else "a crop"
        height, width = scene.frame or (first.height, first.width)
        self.heaviest = f"{first.name}, {what}, padded to {height}x{width}"

    def peak(self, count: int) -> int:
        """The most bytes of tensors with ``count`` pictures at once."""
        share = self._plan.batch // self._ranks
        scene = scenes_of(self._plan, min(share, 2 * count))[-1]
        with Rehearsal(self._plan, count, as_cuda=False, ranks=self._ranks) as rehearsal:
            peak = rehearsal.step(scene).allocated
            if self._evaluated is not None:
                peak = max(peak, rehearsal.evaluate(self._evaluated, count).allocated)
            return peak


class _Trial:
    """Steps and evaluations on the heaviest pictures, which leave nothing behind."""

    def __init__(self, plan: Plan, state: TrainingState, device: torch.device, most: int) -> None:
        self._plan, self._state, self._device = plan, state, device
        pictures = plan.training_pictures()
        frame = pictures.largest_frame()
        self._samples = _load(pictures, pictures.most_crowded(most), frame)
        first = self._samples[0]
        count = len(first.target["labels"]) if "labels" in first.target else None
        what = f"{count} instances" if count is not None else "a crop"
        self.heaviest = f"{first.record.file_name}, {what}, padded to {frame[0]}x{frame[1]}"
        self._val: list[Sample] = []
        if plan.val is not None:
            whole = pictures_for_evaluation(plan.val, plan.card.framing)
            self._val = _load(whole, whole.largest(most), None)

    def peak(self, count: int) -> int | None:
        """The most bytes held with ``count`` pictures at once; None where memory runs out."""
        free_memory(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        kept = [(buffer, buffer.clone()) for buffer in batch_statistics(self._state.module)]
        try:
            self._run(count)
            return torch.cuda.max_memory_reserved(self._device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            for buffer, before in kept:
                buffer.copy_(before)
            for parameter in self._state.module.parameters():
                if parameter.grad is not None:
                    parameter.grad = None
            train_mode(self._state.module)
            free_memory(self._device)

    def _run(self, count: int) -> None:
        """A step and an evaluation, beside what an optimiser that has not stepped yet will keep."""
        module, plan = self._state.module, self._plan
        learning = [p for p in module.parameters() if p.requires_grad]
        copies = 0 if self._state.optimizer.state else _STATES[plan.config.optimizer or "adamw"]
        ballast = [torch.zeros_like(p) for _ in range(copies) for p in learning]
        with autocast(self._device, plan.dtype):
            losses = module(*_on_device(self._samples[:count], self._device))
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        del losses
        if self._val:
            module.eval()
            ballast += [p.detach().clone() for p in module.parameters() if plan.config.ema]
            with torch.inference_mode(), autocast(self._device, plan.dtype):
                module([sample.image.to(self._device) for sample in self._val[:count]])
        del ballast


def _load(pictures: Pictures, places: Sequence[int], frame: tuple[int, int] | None) -> list[Sample]:
    samples = [pictures[Key(0, place, 0, frame)] for place in places]
    return [sample for sample in samples if isinstance(sample, Sample)] or [_first_error(samples)]


def _first_error(samples: Sequence[Any]) -> Any:
    raise samples[0]


def _on_device(samples: Sequence[Sample], device: torch.device) -> tuple[list[Any], list[Any]]:
    targets = [
        {name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in sample.target.items()}
        for sample in samples
    ]
    return [sample.image.to(device) for sample in samples], targets
