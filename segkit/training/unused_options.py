"""Options of a new run that have no effect beside the others, or not the one that they seem to have."""

from segkit.choices import ARCHITECTURES
from segkit.config.train import TrainConfig
from segkit.training.plan import Plan

_WITH_MOMENTUM = ("sgd", "rmsprop")
_NO_LAYERS = ("none",)


def unused_options(plan: Plan, asked: TrainConfig) -> list[str]:
    """What was asked for and will not happen, in sentences.

    Args:
        plan: The run; its options have values.
        asked: The options as they were given.
    """
    usual = TrainConfig()
    found = [*_of_rates(plan, usual), *_of_limits(plan, asked), *_of_layers(plan.config)]
    config = plan.config
    if asked.curve_seeds != usual.curve_seeds and asked.label_share is None:  # a run of a curve learns from a part
        found.append(f"--curve-seeds {asked.curve_seeds} has no effect without --label-curve")
    if config.rois and config.proposals and config.rois > config.proposals:
        found.append(f"--rois {config.rois}: no more than the {config.proposals} of --proposals can be learnt from")
    if ARCHITECTURES[config.model].pixels and asked.max_size and asked.max_size != _longest(config.size or 0):
        found.append(f"--max-size {asked.max_size} has no effect: a {config.model} takes crops of --size {config.size}")
    found += [
        f"--{name.replace('_', '-')} 0: nothing is learnt from what {whom} finds"
        for name, whom in (("teacher_weight", "the teacher"), ("unlabelled_weight", "the average"))
        if getattr(config, name) == 0
    ]
    return found


def _longest(size: int) -> int:
    """What ``--max-size`` is where it is not given; a run that is repeated from its config.toml gives it."""
    return max(size, round(size * 5 / 3))


def _of_rates(plan: Plan, usual: TrainConfig) -> list[str]:
    """Options of the optimizer and of the learning rate."""
    config, total = plan.config, plan.total_steps
    found = []
    if config.momentum != usual.momentum and config.optimizer not in _WITH_MOMENTUM:
        found.append(f"--momentum {config.momentum:g} has no effect: {config.optimizer} has none of that kind")
    if config.lr == 0:
        found.append("--lr 0: nothing is learnt")
    if total is not None and config.warmup is not None and config.warmup >= total:
        found.append(f"--warmup {config.warmup}: the run ends after {total} steps, before --lr is reached")
    if total is not None and config.lr_steps is not None and min(config.lr_steps) > plan.epoch(total - 1):
        found.append(f"--lr-steps {min(config.lr_steps)}: the run ends before that epoch")
    return found


def _of_limits(plan: Plan, asked: TrainConfig) -> list[str]:
    """Options of evaluations, where there are none."""
    if plan.val is not None:
        return []
    given = [flag for flag, value in (("--patience", asked.patience), ("--eval-every", asked.eval_every)) if value]
    return [f"{flag} has no effect: the dataset has no validation split" for flag in given]


def _of_layers(config: TrainConfig) -> list[str]:
    """Layers that stay as they start, which is by chance."""
    if config.weights != "none" or ARCHITECTURES[config.model].queries:
        return []
    found = []
    if config.freeze not in (None, _NO_LAYERS) and config.unfreeze_after is None:
        found.append(f"--freeze {','.join(config.freeze)}: with --weights none these layers stay random")
    if config.norm == "frozen":
        found.append("--norm frozen: with --weights none the norms stay as they start, and normalise nothing")
    return found
