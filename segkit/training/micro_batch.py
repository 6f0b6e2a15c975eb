"""How many images go through the model at once: as asked, or as many of the heaviest as fit into memory.

What is tried is heavier than any real micro-batch: the images with the most instances, padded to the largest frame
that any image can have. An evaluation is tried too, with what training holds at the same time. On a GPU real steps are
tried; on a CPU, whose allocator counts nothing, steps on fake tensors (``segkit.training.rehearsal``).
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch

from segkit.errors import ConfigError, DeviceError
from segkit.loading.dataset import Pictures, to_device
from segkit.loading.sampler import Key
from segkit.loading.whole import Sample, WholePictures
from segkit.models.adapt import train_mode
from segkit.progress import Progress
from segkit.runtime.available import available_memory
from segkit.runtime.device import autocast, fp32_precision, free_memory, limit_memory
from segkit.runtime.memory_errors import is_out_of_memory
from segkit.runtime.ranks import Ranks
from segkit.training.gradients import copy_statistics, restore_statistics
from segkit.training.plan import Plan
from segkit.training.rehearsal.batches import Shape, largest_to_evaluate, scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal
from segkit.training.state import TrainingState
from segkit.training.step import HINT_MEMORY
from segkit.training.teachers.mean_teacher import with_weak_view
from segkit.training.teachers.teaching import Teaching, in_parts
from segkit.training.thaw import frozen_in
from segkit.units import format_bytes

SHARE = 0.95  # of the budget: the rest is for blocks of odd sizes between those in use
_STATES = {"adamw": 2, "adam": 2, "rmsprop": 2, "adagrad": 1, "sgd": 1}  # tensors that an optimizer keeps by parameter


def choose_micro_batch(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress, teaching: Teaching) -> None:
    """Set ``state.micro_batch``, alike on all ranks; a resumed run keeps its own, unless another is asked for.

    Args:
        plan: The run.
        state: Its state.
        ranks: The processes that share a batch.
        progress: Shows what was found.
        teaching: What the model learns from.

    Raises:
        DeviceError: Not even one image fits.
        ConfigError: The norm makes ranks wait for one another inside the model.
        SegkitError: An image that must be tried cannot be loaded.
    """
    part, asked = plan.batch // ranks.world_size, plan.config.micro_batch
    if plan.config.vram is not None:
        limit_memory(ranks.device, plan.config.vram)
        if ranks.device.type != "cuda" and asked != "auto":
            progress.note("warning: --vram limits a GPU; on a CPU it counts for --micro-batch auto only")
    wish = f"{asked} of {part} in {plan.config.vram}"
    if state.step == 0 or state.micro_batch_asked != wish:
        state.micro_batch_asked = wish
        chosen = _that_fits(plan, state, ranks, progress, teaching) if asked == "auto" else int(asked or part)
        state.micro_batch = chosen


def _that_fits(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress, teaching: Teaching) -> int:
    """The largest micro-batch that fits on all ranks."""
    if plan.card.norm == "sync" and ranks.world_size > 1:
        raise ConfigError("--micro-batch auto cannot try sizes with --norm sync", "give a number, or --norm group")
    part = plan.batch // ranks.world_size
    budget = SHARE * (plan.config.vram or _free(ranks.device))
    scene = scenes_of(plan, part)[-1]
    peak_of: Callable[[int], int | None] = partial(_peak_rehearsed, plan, ranks.world_size)
    if ranks.device.type == "cuda":
        to_train, to_evaluate = _load(plan.training_pictures(), scene.shapes, scene.frame), list[Sample]()
        if plan.val is not None:
            whole = WholePictures(plan.val, plan.card.framing, plan.card.levels)
            to_evaluate = _load(whole, largest_to_evaluate(plan, part))
        peak_of = partial(_peak_on_gpu, plan, state, teaching.rehearsed(), to_train, to_evaluate, ranks.device)
    needs: dict[int, int | None] = {}

    def fits(count: int) -> bool:
        needs[count] = peak = peak_of(count)
        return peak is not None and peak <= budget

    first = scene.shapes[0]
    height, width = scene.frame or (first.height, first.width)
    instances = f", {first.instances} instances" if plan.card.framing.kind == "instances" else ""
    heaviest = f"{first.name}{instances}, padded to {height}x{width}"
    most = most_that_fits(part, fits)
    found: int = min(ranks.gather(most))
    if found == 0:
        what = f"not even one picture at a time fits into {format_bytes(budget)}: {heaviest}"
        ranks.raise_together(DeviceError(what, HINT_MEMORY))
    take = f" take {format_bytes(needs[most])} of {format_bytes(budget)}" if found == most else ""
    progress.note(f"--micro-batch auto: {found} of {part} pictures at once{take} (tried with {heaviest})")
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
        return available_memory(device)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device)


def _peak_rehearsed(plan: Plan, num_ranks: int, count: int) -> int:
    """The most bytes of tensors with ``count`` images at once, on fake tensors and by this CPU's rules."""
    scene = scenes_of(plan, min(plan.batch // num_ranks, 2 * count))[-1]
    with Rehearsal(plan, count, as_cuda=False, ranks=num_ranks) as rehearsal:
        peaks = [rehearsal.step(scene), *(rehearsal.evaluate(shape, count) for shape in largest_to_evaluate(plan))]
    return max(peak.allocated for peak in peaks)


def _peak_on_gpu(
    plan: Plan,
    state: TrainingState,
    teaching: Teaching,
    to_train: list[Sample],
    to_evaluate: list[Sample],
    device: torch.device,
    count: int,
) -> int | None:
    """The most bytes reserved with ``count`` images at once; None where memory runs out. It leaves nothing behind."""
    module = state.module
    free_memory(device)
    torch.cuda.reset_peak_memory_stats(device)
    statistics = copy_statistics(module)
    frozen = frozen_in(module)
    try:
        for parameter in frozen if plan.config.unfreeze_after is not None else ():
            parameter.requires_grad_(True)  # what it needs at most
        _try(plan, state, teaching, to_train[:count], to_evaluate[:count], device)
        return torch.cuda.max_memory_reserved(device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        restore_statistics(statistics)
        module.zero_grad()
        for parameter in frozen:
            parameter.requires_grad_(False)
        train_mode(module)
        free_memory(device)


def _try(
    plan: Plan,
    state: TrainingState,
    teaching: Teaching,
    to_train: list[Sample],
    to_evaluate: list[Sample],
    device: torch.device,
) -> None:
    """A step and an evaluation, with placeholders for what an optimizer that has not stepped yet will keep."""
    module = state.module
    learning = [p for p in module.parameters() if p.requires_grad]
    copies, compared = 0 if state.optimizer.state else _STATES[plan.config.optimizer or "adamw"], list[torch.Tensor]()
    if plan.unlabelled is not None and plan.val is not None:  # the same run beside it (``labels_alone``)
        copies += _STATES[plan.config.optimizer or "adamw"]
        compared = [value.clone() for value in (*module.state_dict().values(), *state.average.state.values())]
    placeholders = [*compared, *(torch.zeros_like(p) for _ in range(copies) for p in learning)]
    teaching.begin()
    further = [with_weak_view(sample) for sample in to_train] if plan.unlabelled is not None else []
    for part in in_parts([*to_train, *further], len(to_train)):
        with autocast(device, plan.dtype):
            images, targets = to_device(part, device)
            losses = teaching.losses(module, images, targets, lambda name: nullcontext())
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        del images, targets, losses
    if to_evaluate:
        module.eval()
        placeholders += [p.detach().clone() for p in module.parameters() if plan.config.ema]
        with torch.inference_mode(), fp32_precision(device):
            module(to_device(to_evaluate, device)[0])
    del placeholders


def _load(
    pictures: Pictures | WholePictures, shapes: Sequence[Shape], frame: tuple[int, int] | None = None
) -> list[Sample]:
    """The images that can be loaded; it raises only where none can."""
    samples = [pictures[Key(0, shape.index, 0, frame)] for shape in shapes]
    good = [sample for sample in samples if isinstance(sample, Sample)]
    if not good:
        raise next(error for error in samples if not isinstance(error, Sample))
    return good
