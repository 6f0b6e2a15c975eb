"""Run a bottled step again, in another process and if need be on another device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segkit.config.replay import ReplayConfig
from segkit.data.digest import differences, digest_of
from segkit.data.records import Dataset
from segkit.errors import ConfigError, InputError
from segkit.loading.whole import Sample
from segkit.memory.measure.meter import CounterMeter
from segkit.models.adapt import compile_features, reraise_compile_errors, train_mode
from segkit.progress import SILENT, Progress
from segkit.runs.folder import METRICS
from segkit.runs.metrics_file import read_metrics
from segkit.runtime.device import (
    device_name,
    limit_memory,
    resolve_device,
    resolve_precision,
    seed_everything,
    select_device,
)
from segkit.runtime.memory_errors import reraise_out_of_memory
from segkit.runtime.ranks import Ranks
from segkit.training.failures.attempt import Attempt, attempt
from segkit.training.failures.bottle import key_of, number_to_json
from segkit.training.failures.read import Bottle, check_same, find_bottle, read_bottle
from segkit.training.failures.shrink import MOST_TRIES, shrink
from segkit.training.gradients import SharedGradients
from segkit.training.plan import Plan, read_data
from segkit.training.sources import share_of
from segkit.training.state import prepare, state_of
from segkit.training.step import HINT_MEMORY, Training
from segkit.training.teachers.choose import teaching_of
from segkit.training.teachers.find import find_teacher
from segkit.training.teachers.unlabelled_images import unlabelled_images
from segkit.version import __version__

_TOO_FEW = 2  # images to look for a smaller part of


@dataclass(frozen=True, eq=False)
class Replay:
    """A failing step that was run again.

    Attributes:
        bottle: The step as it was kept.
        device: Where it ran now.
        attempt: What it gave.
        equal: Whether the losses are those of then, to the bit; None where there is nothing to compare.
        smallest: The files of the smallest part of the batch that still fails; None where it was not looked for.
    """

    bottle: Bottle
    device: str
    attempt: Attempt
    equal: bool | None
    smallest: list[str] | None = None

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        then, now = self.bottle.document, self.attempt
        losses = None if now.losses is None else {name: number_to_json(value) for name, value in now.losses.items()}
        return {
            "folder": str(self.bottle.path),
            "step": then["step"],
            "rank": then["rank"],
            "fails": now.kind is not None,
            "then": {name: then[name] for name in ("kind", "message", "losses", "device", "versions")},
            "now": {"kind": now.kind, "message": now.message, "losses": losses, "device": self.device,
                    "grad_norm": None if now.grad_norm is None else number_to_json(now.grad_norm),
                    "first_layer": now.layer, "traceback": now.trace},
            "losses_equal": self.equal,
            "images": [entry["file"] for entry in then["images"]],
            "smallest": self.smallest,
        }  # fmt: skip


def replay(config: ReplayConfig, progress: Progress = SILENT) -> Replay:
    """Run a failing step again.

    Args:
        config: Which one, and how.
        progress: Is told what differs from then.

    Raises:
        SegkitError: The step was not kept whole, or what it needs besides is gone or has changed.
    """
    kept = read_bottle(find_bottle(config.folder))
    device = resolve_device(config.device)
    select_device(device)
    seed_everything(kept.config.seed, kept.config.deterministic)
    threads = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(min(kept.document["threads"], 1024))  # sums depend on it
        with reraise_out_of_memory(HINT_MEMORY), reraise_compile_errors():
            return _replay(config, kept, device, progress)
    finally:
        torch.set_num_threads(threads)


def _replay(config: ReplayConfig, kept: Bottle, device: torch.device, progress: Progress) -> Replay:
    document = kept.document
    for said in _differs(kept, device):
        progress.note(said)
    start = kept.state(device)
    samples = kept.pictures()
    plan = _plan(kept, config, device, with_data=samples is None)
    if samples is None:
        samples = _loaded(plan, kept)
    training = _training(plan, kept, start, config.micro_batch or document["micro_batch"], device)
    in_optimizer = document["phase"] == "optimiser"
    now = attempt(training, samples, start)
    if in_optimizer and now.kind is None:
        now = attempt(training, samples, start, update=True)
    smallest = None
    if config.shrink and now.kind is not None:
        if in_optimizer:
            raise ConfigError(f"{kept.path}: --shrink: the optimiser failed, whatever the batch")
        smallest = _smallest(samples, now, lambda some: attempt(training, some, start), progress)
    return Replay(kept, device_name(device), now, _equal(kept, now, training), smallest)


def _smallest(
    samples: list[Sample], now: Attempt, try_: Callable[[Sequence[Sample]], Attempt], progress: Progress
) -> list[str]:
    """The files of the smallest part that fails in the same way."""
    if len(samples) < _TOO_FEW:
        return [sample.record.file_name for sample in samples]
    progress.start("trying parts of the batch", None)

    def fails(some: Sequence[Sample]) -> bool:
        progress.advance(1, pictures=str(len(some)))
        return try_(some).kind == now.kind

    found, ended = shrink(samples, fails)
    progress.done()
    if not ended:
        progress.note(f"--shrink: ended after {MOST_TRIES} tries; a smaller part may fail, too")
    return [sample.record.file_name for sample in found]


def _differs(kept: Bottle, device: torch.device) -> list[str]:
    """What is not as it was then, in sentences."""
    then, versions = kept.document, kept.document["versions"]
    here = {"segkit": __version__, "torch": torch.__version__}
    said = [
        f"it was kept by {name} {str(versions.get(name))[:40]}, this is {version}: numbers may differ"
        for name, version in here.items()
        if versions.get(name) != version
    ]
    if then["device"] != (now := device_name(device)):
        said.append(f"it failed on {then['device']}, this is {now}: numbers differ in their last bits, and memory is "
                    "another")  # fmt: skip
    if then["ranks"] > 1:
        said.append(f"the part of rank {then['rank']} of {then['ranks']} is run, by itself")
    return said


def _plan(kept: Bottle, asked: ReplayConfig, device: torch.device, *, with_data: bool) -> Plan:
    """The plan of the run, with its data only where the step needs it."""
    document, config = kept.document, kept.config
    dtype = getattr(torch, document["precision"])
    if asked.precision is not None:
        dtype = resolve_precision(asked.precision, device)
    elif dtype is torch.float16 and device.type == "cpu":
        raise ConfigError(f"{kept.path}: the step was in fp16, which needs a GPU", "--precision fp32 or bf16")
    if config.vram is not None:
        limit_memory(device, config.vram)
    training, unlabelled = Dataset((), (), kept.card.categories, Path()), None
    if with_data or config.unlabelled:
        training, unlabelled = _data(kept)
    return Plan(
        config=config,
        card=kept.card,
        train=training,
        val=None,
        dtype=dtype,
        total_steps=None,
        batch=document["batch"],
        lr=config.lr or 0.0,
        run=kept.run,
        teacher=find_teacher(config.teacher, kept.card) if config.teacher is not None else None,
        unlabelled=unlabelled,
    )


def _data(kept: Bottle) -> tuple[Dataset, Dataset | None]:
    """The training images, and those without annotations, as they were.

    Raises:
        InputError: They are gone, or have changed.
    """
    config, before = kept.config, kept.document["data"]
    training, val = read_data(config.dataset, config.fold)
    training = share_of(training, config)
    unlabelled = unlabelled_images(config.unlabelled, training, val)[0] if config.unlabelled else None
    splits = {"train": training, "unlabelled": unlabelled}
    changed = [
        each
        for name, split in splits.items()
        for each in differences(name, before.get(name), digest_of(split) if split is not None else None)
    ]
    if changed:
        raise InputError(
            f"{config.dataset}: since the step failed: {'; '.join(changed)}",
            "bring the data back: the step needs it",
        )
    return training, unlabelled


def _loaded(plan: Plan, kept: Bottle) -> list[Sample]:
    """The images of the step, loaded and varied as then."""
    sources = {False: plan.training_pictures()}
    if plan.unlabelled is not None:
        sources[True] = plan.unlabelled_pictures()
    samples = []
    for entry in kept.document["images"]:
        key, source = key_of(entry), sources.get(bool(entry["unlabelled"]))
        if key is None or source is None or key.image >= len(source):
            raise InputError(f"{kept.path}: does not say which images the step saw")
        sample = source[key]
        if not isinstance(sample, Sample):
            raise sample
        samples.append(sample)
    check_same(plan.config.dataset, samples, kept.document["images"])
    return samples


def _training(plan: Plan, kept: Bottle, start: dict[str, Any], micro_batch: int, device: torch.device) -> Training:
    """The training at the beginning of the step, of one rank."""
    module = plan.card.build()
    try:
        module.load_state_dict(start["model"])
        prepare(plan, module)
        learns = set(kept.document["learns"])
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in learns)
        module = module.to(device)
        if plan.config.channels_last:
            module = module.to(memory_format=torch.channels_last)
        state = state_of(plan, module)
        if plan.config.ema and start.get("average"):
            state.average.state = {name: value.to(device) for name, value in start["average"].items()}
        if "optimizer" in start and kept.document["phase"] == "optimiser":
            state.optimizer.load_state_dict(start["optimizer"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{kept.path}: its weights are not those of its model card", "was it edited?") from error
    state.step, state.micro_batch = kept.document["step"] - 1, micro_batch
    if plan.config.compile:
        compile_features(module)
    train_mode(module)
    teaching = teaching_of(plan, module, state.average, device)
    teaching.restore(start["teaching"])
    alone = Ranks(0, 1, device)
    return Training(plan, state, SharedGradients(module, alone), alone, CounterMeter(device), teaching=teaching)


def _equal(kept: Bottle, now: Attempt, training: Training) -> bool | None:
    """Whether losses are those of then: of the failing try, or of the one with which the run went on."""
    then = kept.losses
    if then is None and now.losses is not None and kept.document["ranks"] == 1:
        then = _went_on_with(kept, training.state.micro_batch)
    if then is None or now.losses is None:
        return None
    return then.keys() == now.losses.keys() and all(_same(then[name], value) for name, value in now.losses.items())


def _same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


def _went_on_with(kept: Bottle, micro_batch: int) -> dict[str, float] | None:
    """The losses of the step as the run repeated it, with so many images at once."""
    path = kept.run / METRICS
    for line in read_metrics(path) if path.is_file() else ():
        if line["kind"] == "step" and line["step"] == kept.document["step"] and line.get("micro_batch") == micro_batch:
            losses = line.get("losses")
            if isinstance(losses, dict) and all(isinstance(value, float) for value in losses.values()):
                return losses
    return None
