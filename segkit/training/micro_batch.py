"""How many images go through the model at once: as asked, or as many of the heaviest as fit into memory.

What is tried is heavier than any real micro-batch: the images with the most instances, padded to the largest frame
that any image can have. An evaluation is tried too, with what training holds at the same time. On a GPU real steps are
tried; on a CPU, whose allocator counts nothing, steps on fake tensors (``segkit.training.rehearsal``).
"""

from collections.abc import Callable, Sequence

import psutil
import torch

from segkit.errors import ConfigError, DeviceError
from segkit.loading.dataset import Pictures, Sample, pictures_for_evaluation
from segkit.loading.sampler import Key
from segkit.models.adapt import train_mode
from segkit.models.tensors import target_to
from segkit.progress import Progress
from segkit.runtime.device import autocast, free_memory, is_out_of_memory, limit_memory
from segkit.runtime.ranks import Ranks
from segkit.training.gradients import copy_statistics, restore_statistics
from segkit.training.plan import Plan
from segkit.training.rehearsal.batches import largest_to_evaluate, scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal
from segkit.training.state import TrainingState
from segkit.training.step import HINT_MEMORY
from segkit.units import format_bytes

_SHARE = 0.95  # of the budget: the rest is for blocks of odd sizes between those in use
_STATES = {"adamw": 2, "adam": 2, "rmsprop": 2, "adagrad": 1, "sgd": 1}  # tensors that an optimizer keeps by parameter


def choose_micro_batch(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress) -> None:
    """Set ``state.micro_batch``, alike on all ranks; a resumed run keeps its own, unless another is asked for.

    Args:
        plan: The run.
        state: Its state.
        ranks: The processes that share a batch.
        progress: Shows what was found.

    Raises:
        DeviceError: Not even one image fits.
        ConfigError: The norm makes ranks wait for one another inside the model.
        SegkitError: An image that must be tried cannot be loaded.
    """
    part, asked = plan.batch // ranks.world_size, plan.config.micro_batch
    if plan.config.vram is not None:
        limit_memory(ranks.device, plan.config.vram)
    wish = f"{asked} of {part} in {plan.config.vram}"
    if state.step == 0 or state.micro_batch_asked != wish:
        state.micro_batch_asked = wish
        state.micro_batch = _that_fits(plan, state, ranks, progress) if asked == "auto" else int(asked or part)


def _that_fits(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress) -> int:
    """The largest micro-batch that fits on all ranks."""
    if plan.card.norm == "sync" and ranks.world_size > 1:
        raise ConfigError("--micro-batch auto cannot try sizes with --norm sync", "give a number, or --norm group")
    part = plan.batch // ranks.world_size
    budget = _SHARE * (plan.config.vram or _free(ranks.device))
    trial: _GpuTrial | _RehearsedTrial
    if ranks.device.type == "cuda":
        trial = _GpuTrial(plan, state, ranks.device, part)
    else:
        trial = _RehearsedTrial(plan, ranks.world_size, part)
    needs: dict[int, int | None] = {}

    def fits(count: int) -> bool:
        needs[count] = peak = trial.peak(count)
        return peak is not None and peak <= budget

    most = most_that_fits(part, fits)
    found: int = min(ranks.gather(most))
    if found == 0:
        what = f"not even one picture at a time fits into {format_bytes(budget)}: {trial.heaviest}"
        ranks.raise_together(DeviceError(what, HINT_MEMORY))
    take = f" take {format_bytes(needs[most])} of {format_bytes(budget)}" if found == most else ""
    progress.note(f"--micro-batch auto: {found} of {part} pictures at once{take} (tried with {trial.heaviest})")
    return found


def most_that_fits(limit: int, fits: Callable[[int], bool]) -> int:
    """The most images at once, up to ``limit``, that fit; 0 where not even one does."""
    most, too_many, tried = 0, limit + 1, limit
    while too_many - most > 1:
        if fits(tried):
            most = tried
        else:
            too_many = tried
        tried = (most + too_many) // 2
    return most


def _free(device: torch.device) -> int:
    """Bytes that this process may still allocate, or has allocated."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device)


class _RehearsedTrial:
    """Steps and evaluations on fake tensors, by this CPU's rules."""

    def __init__(self, plan: Plan, ranks: int, most: int) -> None:
        self._plan, self._ranks = plan, ranks
        self._evaluated = largest_to_evaluate(plan)
        scene = scenes_of(plan, most)[-1]
        first = scene.shapes[0]
        what = f"{first.instances} instances" if plan.card.framing.kind == "instances" else "a crop"
        height, width = scene.frame or (first.height, first.width)
        self.heaviest = f"{first.name}, {what}, padded to {height}x{width}"

    def peak(self, count: int) -> int:
        """The most bytes of tensors with ``count`` images at once."""
        share = self._plan.batch // self._ranks
        scene = scenes_of(self._plan, min(share, 2 * count))[-1]
        with Rehearsal(self._plan, count, as_cuda=False, ranks=self._ranks) as rehearsal:
            peak = rehearsal.step(scene).allocated
            if self._evaluated is not None:
                peak = max(peak, rehearsal.evaluate(self._evaluated, count).allocated)
            return peak


class _GpuTrial:
    """Steps and evaluations on the heaviest images, which leave nothing behind."""

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
        """The most bytes reserved with ``count`` images at once; None where memory runs out."""
        free_memory(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        statistics = copy_statistics(self._state.module)
        try:
            self._run(count)
            return torch.cuda.max_memory_reserved(self._device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            restore_statistics(statistics)
            for parameter in self._state.module.parameters():
                if parameter.grad is not None:
                    parameter.grad = None
            train_mode(self._state.module)
            free_memory(self._device)

    def _run(self, count: int) -> None:
        """A step and an evaluation, with placeholders for what an optimizer that has not stepped yet will keep."""
        module, plan = self._state.module, self._plan
        learning = [p for p in module.parameters() if p.requires_grad]
        copies = 0 if self._state.optimizer.state else _STATES[plan.config.optimizer or "adamw"]
        placeholders = [torch.zeros_like(p) for _ in range(copies) for p in learning]
        with autocast(self._device, plan.dtype):
            some = self._samples[:count]
            images = [sample.image.to(self._device) for sample in some]
            losses = module(images, [target_to(sample.target, self._device) for sample in some])
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        del losses, images
        if self._val:
            module.eval()
            placeholders += [p.detach().clone() for p in module.parameters() if plan.config.ema]
            with torch.inference_mode(), autocast(self._device, plan.dtype):
                module([sample.image.to(self._device) for sample in self._val[:count]])
        del placeholders


def _load(pictures: Pictures, places: Sequence[int], frame: tuple[int, int] | None) -> list[Sample]:
    """The images that can be loaded; it raises only where none can."""
    samples = [pictures[Key(0, place, 0, frame)] for place in places]
    good = [sample for sample in samples if isinstance(sample, Sample)]
    if not good:
        raise next(error for error in samples if not isinstance(error, Sample))
    return good
