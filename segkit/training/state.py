"""Everything that changes during a run, and how it is stored in a checkpoint."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.data.digest import Digest
from segkit.errors import ConfigError, InputError
from segkit.evaluation.metrics import Metrics
from segkit.models.adapt import compile_features, freeze, initialise, save_memory
from segkit.models.card import ModelCard
from segkit.models.weights import Loaded, load_weights
from segkit.progress import Progress
from segkit.runs.find import LAST
from segkit.runtime.memory_errors import is_out_of_memory
from segkit.runtime.ranks import Ranks
from segkit.training.optim import Average, groups_of, make_optimizer
from segkit.training.plan import Plan
from segkit.training.quantised_start import start_in_8_bits
from segkit.training.shards import FUSED_ON_PARTS, load_whole, shard, whole
from segkit.training.thaw import check_thaw, thaw

MOST_NONFINITE = 10  # steps in a row without a finite loss
_COUNTS = (
    "step", "seconds", "best", "best_step", "stale", "skipped", "skipped_in_a_row", "bad_pictures",
    "micro_batch", "micro_batch_asked", "evaluated", "eval_seconds", "eval_total", "save_seconds",
    "spaced_by_time",
)  # fmt: skip


@dataclass(slots=True)
class TrainingState:
    """The model, its optimizer, and the progress of the run.

    Attributes:
        module: The model, not wrapped for ranks.
        optimizer: Its optimizer.
        scaler: Loss scaling for fp16; does nothing otherwise.
        average: The averaged weights.
        step: Steps done.
        seconds: Time spent, over all sessions.
        best: The best score so far.
        stale: Evaluations since then.
        skipped: Steps skipped because their loss or gradients were not finite.
        best_step: The step that had the best score.
        skipped_in_a_row: How many of the last steps were skipped.
        broken: Whether the model was found to give no numbers any more.
        micro_batch: Images that go through the model at once; fewer than asked for where memory ran out.
        validated_at_once: Images that go through the model at once in evaluations; None: as many as in training.
        micro_batch_asked: The options that it was chosen for; it is chosen again when they change.
        bad_pictures: Images that could not be loaded and were replaced by others.
        evaluated: The step after which the model was last evaluated.
        saved_step: The step that ``last.pt`` holds.
        eval_seconds: How long the last evaluation took; before the first one, an estimate or 0.
        eval_total: How long all evaluations took.
        spaced_by_time: Whether an evaluation is left out where evaluations would take too much of the run's time.
        repeated: Steps that a session before did after its last checkpoint, and whether it evaluated after them.
        save_seconds: How long the last checkpoint took.
        eval_agreed: ``eval_seconds`` of rank 0, as all ranks know it after a step.
        save_agreed: Likewise, ``save_seconds``.
        saved_at: When it was written, by the training's clock.
        step_began: When the last step began, likewise.
        began: When the run would have begun without breaks, likewise.
        metrics: The last evaluation of this session.
        sharded: Whether model and optimizer are spread over ranks.
        last_is_whole: Whether it is intact and may be kept as the previous one.
        is_latest: Whether ``runs/latest`` was pointed to the run, which happens at its first checkpoint.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: Average
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    stale: int = 0
    skipped: int = 0
    best_step: int = 0
    skipped_in_a_row: int = 0
    broken: bool = False
    micro_batch: int = 1
    validated_at_once: int | None = None
    micro_batch_asked: str = ""
    bad_pictures: int = 0
    evaluated: int = 0
    saved_step: int = 0
    last_is_whole: bool = True
    is_latest: bool = False
    eval_seconds: float = 0.0
    eval_total: float = 0.0
    spaced_by_time: bool = False
    save_seconds: float = 0.0
    eval_agreed: float = 0.0
    save_agreed: float = 0.0
    saved_at: float = 0.0
    step_began: float = 0.0
    began: float = 0.0
    metrics: Metrics | None = None
    sharded: bool = False
    repeated: dict[int, bool] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether the loss is not finite any more, or never was: to go on would not help."""
        return self.broken or self.skipped_in_a_row >= MOST_NONFINITE or 0 < self.step <= self.skipped

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights to evaluate, save and export."""
        return self.average.state_of(self.module)

    def to_checkpoint(self, card: ModelCard, data: dict[str, Digest], ranks: Ranks) -> dict[str, Any]:
        """The whole state in plain values and tensors; every rank must call this, and rank 0 saves what it returns."""
        return {
            "card": card.to_plain(),
            "data": data,
            "model": whole(self.weights(), ranks),
            "raw": self.module.state_dict() if self.average.decay else None,
            "average_updates": self.average.updates,
            "optimizer": whole(self.optimizer.state_dict(), ranks),
            "scaler": self.scaler.state_dict(),
            "random": ranks.gather(random_state(ranks.device)),
            **{name: getattr(self, name) for name in _COUNTS},
        }

    def restore(self, content: dict[str, Any], ranks: Ranks) -> None:
        """Set the state to that of a checkpoint."""
        if self.sharded:
            load_whole(self.module, self.optimizer, content)
        else:
            self.module.load_state_dict(content["raw"] or content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
        if self.average.decay:
            self.average.state = {name: value.to(ranks.device) for name, value in content["model"].items()}
            self.average.updates = content["average_updates"]
        self.scaler.load_state_dict(content["scaler"])
        for name in _COUNTS:
            setattr(self, name, content.get(name, getattr(self, name)))  # an older file lacks some of them
        self.eval_agreed, self.save_agreed = self.eval_seconds, self.save_seconds
        if ranks.rank < len(content["random"]):
            set_random_state(content["random"][ranks.rank], ranks.device)


def random_state(device: torch.device) -> list[torch.Tensor]:
    """The state of PyTorch's random numbers: on the host, and on a GPU."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    """Go on with the random numbers of a state."""
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)


def start_state(
    plan: Plan, last: tuple[Path, dict[str, Any]] | None, ranks: Ranks, progress: Progress
) -> TrainingState:
    """The state to start with: that of a checkpoint, or a new one.

    Args:
        plan: The run.
        last: The file and the content of its last intact checkpoint, if it has one.
        ranks: The processes that share it.
        progress: Shows what the model starts from.

    Raises:
        SegkitError: Weights cannot be read, or options name layers that do not exist.
    """
    config, module = plan.config, plan.card.build()
    loaded = Loaded("")
    if last is None and config.qat is not None:
        module.load_state_dict(start_in_8_bits(config, ranks.device).state_dict())
        progress.note(f"starting from {config.weights}, with layers that compute as in 8 bits")
    elif last is None:
        assert config.weights is not None
        initialise(module, config.init)
        names = [category.name for category in plan.card.categories]
        loaded = load_weights(module, config.weights, config.model, plan.card.backbone, names)
        progress.note(f"starting from {loaded.text}")
    prepare(plan, module)
    _check_frozen(plan, module, loaded)
    check_thaw(plan, module)
    if config.shard:
        shard(module, ranks)
    else:
        module = module.to(ranks.device)
    if config.channels_last:
        module = module.to(memory_format=torch.channels_last)
    state = state_of(plan, module)
    state.sharded = config.shard
    if last is not None:
        path, content = last
        try:
            if len(content["optimizer"]["param_groups"]) > len(state.optimizer.param_groups):
                thaw(plan, module, state.optimizer)  # it was, before the checkpoint
            state.restore(content, ranks)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"{path}: does not fit the run's config", "was one of them edited, or written by another version?"
            ) from error
        state.saved_step, state.last_is_whole, state.is_latest = state.step, path.name == LAST, True
        progress.note(f"going on after step {state.step}")
    if config.compile:
        compile_features(state.module)
    return state


def _check_frozen(plan: Plan, module: nn.Module, loaded: Loaded) -> None:
    """Check that no layer is frozen that weights were meant for and that starts at random.

    Raises:
        ConfigError: One is.
    """
    frozen = [name for name, value in module.named_parameters() if name in loaded.random and not value.requires_grad]
    if frozen:
        raise ConfigError(
            f"--freeze {','.join(plan.config.freeze or ())}: {frozen[0]} starts at random and would never learn",
            f"{plan.config.weights} does not have it: leave it out of --freeze",
        )


def prepare(plan: Plan, module: nn.Module) -> None:
    """Freeze layers, and set dropout and recomputation, before a model goes to its device.

    Raises:
        ConfigError: Options name layers that do not exist.
    """
    config = plan.config
    freeze(module, config.freeze or ())
    if config.dropout:
        module.dropout = config.dropout  # type: ignore[assignment]  # a U-Net: the config sees to that
    if config.memory == "low":
        save_memory(module)


def state_of(plan: Plan, module: nn.Module) -> TrainingState:
    """A new state for a model on its device.

    Raises:
        ConfigError: Options name layers that do not exist.
    """
    config = plan.config
    assert config.optimizer is not None
    optimizer = make_optimizer(
        config.optimizer,
        groups_of(module, dict(config.lr_factors or ())),
        lr=plan.lr,
        weight_decay=config.weight_decay or 0.0,
        momentum=config.momentum,
        fused=not config.shard or config.optimizer in FUSED_ON_PARTS,
    )
    scaler = torch.amp.GradScaler(next(module.parameters()).device.type, enabled=plan.dtype is torch.float16)
    average = Average(module, config.ema or 0.0)
    return TrainingState(module, optimizer, scaler, average, spaced_by_time=plan.spaced_by_time)
