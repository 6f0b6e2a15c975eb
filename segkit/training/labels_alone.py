"""The run as it would be with labels alone, beside the run that learns from unlabelled images, too.

What unlabelled images do to a score is known only from what it would be without them. So from the switch on a copy of
the state learns from the annotated images alone; step by step it is what a run without ``--unlabelled`` would be.
Evaluations score both (``validation``), and where the copy is better, the run begins again from it. They score the mean
of the weights of both, too: what began alike and learnt from the same labels often lies in one valley of the loss, and
the mean is better than both (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482).
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch

from segkit.errors import SegkitError
from segkit.loading.whole import Sample
from segkit.models.adapt import compile_features, train_mode
from segkit.training.failures.step_failure import NOBODY
from segkit.training.gradients import SharedGradients
from segkit.training.optim import set_learning_rate
from segkit.training.state import TrainingState, prepare, state_of
from segkit.training.step import Beside, Training, train_step
from segkit.training.thaw import is_thawed, thaw

Weights = dict[str, torch.Tensor]


def step_alone(run: Training, batch: list[Sample] | SegkitError, rate: float) -> None:
    """Take a step with the annotated images of the run's next one; every rank calls it with its part of the batch.

    Args:
        run: The training with unlabelled images.
        batch: This rank's part, or why it could not be loaded.
        rate: The learning rate.

    Raises:
        SegkitError: As ``train_step``.
    """
    if run.plan.val is None or not run.teaching.compares:
        run.beside.training = None
        return
    alone = run.beside.training
    if alone is None:
        alone = _copy_of(run, deepcopy(content_of(run.state)))
    state, shared = alone.state, run.state
    if is_thawed(run.plan, shared.step) and thaw(run.plan, state.module, state.optimizer):
        alone = replace(alone, gradients=SharedGradients(state.module, run.ranks))
    run.beside.training = alone
    set_learning_rate(state.optimizer, rate)
    state.step, state.micro_batch = shared.step, min(state.micro_batch, shared.micro_batch)
    state.began, state.saved_at, state.step_began = shared.began, shared.saved_at, shared.step_began
    labelled = batch if isinstance(batch, SegkitError) else [each for each in batch if "weak" not in each.target]
    train_step(alone, labelled)
    state.step += 1
    shared.micro_batch = min(state.micro_batch, shared.micro_batch)


def begin_again(run: Training) -> None:
    """Let a run go on from what was learnt from labels alone."""
    if run.beside.training is not None:
        _learn(run.state, content_of(run.beside.training.state))


def mean_weights(run: Training) -> Weights | None:
    """The mean of the weights with unlabelled images and with labels alone; None where there is one of them only."""
    if run.beside.training is None:
        return None
    other = run.beside.training.state.weights()
    pairs = ((name, value, other[name]) for name, value in run.state.weights().items())
    return {name: (one + two) / 2 if one.is_floating_point() else one for name, one, two in pairs}


def restore_alone(run: Training, content: dict[str, Any] | None) -> None:
    """Go on with what a checkpoint has of it, if anything (``content_of``)."""
    if content is not None:
        run.beside.training = _copy_of(run, content)


def content_of(state: TrainingState) -> dict[str, Any]:
    """What a state has learnt, in plain values and tensors."""
    return {
        "raw": state.module.state_dict(),
        "average": state.average.state,
        "average_updates": state.average.updates,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
    }


def _copy_of(run: Training, content: dict[str, Any]) -> Training:
    """A training with labels alone; what it learns is its own."""
    plan, module = run.plan, run.plan.card.build()
    prepare(plan, module)
    module = module.to(run.ranks.device)
    if plan.config.channels_last:
        module = module.to(memory_format=torch.channels_last)
    state = state_of(plan, module)
    if len(content["optimizer"]["param_groups"]) > len(state.optimizer.param_groups):
        thaw(plan, module, state.optimizer)
    _learn(state, content)
    state.step, state.micro_batch = run.state.step, run.state.micro_batch
    if plan.config.compile:
        compile_features(module)
    train_mode(module)
    gradients = SharedGradients(module, run.ranks)
    return replace(
        run, state=state, gradients=gradients, teaching=run.teaching.annotated, watch=NOBODY, beside=Beside()
    )


def _learn(state: TrainingState, content: dict[str, Any]) -> None:
    """Take over what another state has learnt; tensors stay where they are, as a teacher may be the average."""
    state.module.load_state_dict(content["raw"])
    for name, value in content["average"].items():
        state.average.state[name].copy_(value)
    state.average.updates = content["average_updates"]
    state.optimizer.load_state_dict(deepcopy(content["optimizer"]))  # else both would share its tensors
    state.scaler.load_state_dict(content["scaler"])
