"""What a training does between steps: score the model on the validation split, and save checkpoints."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.data.records import Dataset
from segkit.errors import SegkitError
from segkit.inference.batches import BatchPredictor
from segkit.inference.score import Scored, ScoreOptions, score
from segkit.models.adapt import train_mode
from segkit.progress import NotesOnly
from segkit.runs.checkpoint import save_checkpoint
from segkit.runs.find import BEST, LAST, PREVIOUS
from segkit.runs.folder import LATEST, point_latest
from segkit.runs.samples import draw_samples, sample_images
from segkit.training.divergence import has_finite_weights, stop_without_finite_outputs
from segkit.training.labels_alone import Weights, begin_again, content_of, mean_weights
from segkit.training.log import RunLog
from segkit.training.optim import warmed_up
from segkit.training.shards import copy_whole, whole
from segkit.training.step import Training

Sides = dict[str, dict[str, float]]

_LEAST_TRIED = 4  # images, to estimate the time of an evaluation
_TOLERANCE = 1.05  # of the time limit: an evaluation that takes longer than was estimated is given up


def validate(training: Training, log: RunLog, *, in_time: bool = True) -> None:
    """Score the model on the validation split, and save it as ``best.pt`` if no evaluation before was better.

    Args:
        training: The training.
        log: Takes the scores.
        in_time: Whether to give up when the run's time is over.

    Raises:
        Interrupted: On all ranks: one of them was asked to stop, or the time is over.
    """
    began = training.clock()
    _validate(training, log, in_time)
    state = training.state
    state.eval_seconds = training.clock() - began
    state.eval_total += state.eval_seconds


def _validate(training: Training, log: RunLog, in_time: bool) -> None:
    plan, state = training.plan, training.state
    if plan.val is None:
        state.evaluated = state.step
        if state.best is None:  # else there was a split before the run was resumed, and best.pt has a score
            with _module_to_score(training) as module:
                stop_without_finite_outputs(training, module)
            save_best(training)
        return
    scored, sides, weights = _score_all(training, plan.val, in_time)
    state.metrics, state.evaluated = scored.metrics, state.step
    name, value = scored.metrics.primary()
    nothing_to_find = value < 0  # no model is better than another: the last one is kept
    better = nothing_to_find or state.best is None or value >= state.best
    if not nothing_to_find:
        improved = state.best is None or value > state.best
        is_warm = warmed_up(plan.done(state.step, state.seconds), state.step, plan.config.warmup)
        finds = max(value, state.best or 0.0) > 0 and (scored.metrics.finds_something() or state.stale > 0)
        counts = is_warm and finds  # else it has not begun to learn
        state.stale = 0 if improved or not counts else state.stale + 1
        state.best, state.best_step = (value, state.step) if better else (state.best, state.best_step)
    if better:
        save_best(training, weights)
        if training.ranks.is_main:
            draw_samples(plan.run, plan.val, scored.results, f"after step {state.step}: {name} {value:.3f}")
    if nothing_to_find:
        training.progress.note(
            f"step {state.step}: the validation split has nothing to score; best.pt is the last model"
        )
    else:
        log.evaluation(state, scored.metrics, better, sides)


def _score_all(training: Training, val: Dataset, in_time: bool) -> tuple[Scored, Sides, Weights | None]:
    """Score the model and, where one goes on beside it with labels alone, that and the mean of both.

    Where the other one is better than the model, the run begins again from it.

    Returns:
        The best scores, the main ones of each, and the weights that have the best, where those are the mean.
    """
    scored = _score_once(training, val, in_time)
    name, value = scored.metrics.primary()
    other, mean, alone = training.beside.training, mean_weights(training), None
    best, sides, weights = scored, Sides(), None
    if other is not None and value >= 0:
        of_alone, of_mean = _score_once(other, val, in_time), _score_once(training, val, in_time, mean)
        alone = of_alone.metrics.primary()[1]
        named = {"labels_alone": of_alone, "with_unlabelled": scored, "mean_of_both": of_mean}
        sides = {side: each.metrics.headline() for side, each in named.items()}
        best = max((scored, of_mean, of_alone), key=lambda each: each.metrics.primary()[1])
        weights = mean if best is of_mean else None
        if alone > value:
            begin_again(training)
    said = training.teaching.after_evaluation(name, value if value >= 0 else None, training.state.step, alone)
    if said is not None:
        training.progress.note(said)
    return best, sides, weights


def _score_once(training: Training, val: Dataset, in_time: bool, weights: Weights | None = None) -> Scored:
    with _module_to_score(training, weights) as module:
        stop_without_finite_outputs(training, module)
        return _score(training, module, val, in_time)


def estimate_evaluation(training: Training) -> None:
    """Estimate how long an evaluation takes, from one of a few images; the state learns nothing else from it.

    Raises:
        Interrupted: As ``validate``.
    """
    val = training.plan.val
    if val is None:
        return
    count = min(len(val.images), max(_LEAST_TRIED, len(val.images) // 20) * training.ranks.world_size)
    some = val.images[:: -(-len(val.images) // count)]
    ids = {image.id for image in some}
    part = replace(val, images=some, annotations=tuple(a for a in val.annotations if a.image_id in ids))
    began = training.clock()
    with _module_to_score(training) as module:
        stop_without_finite_outputs(training, module)
        _score(training, module, part, in_time=True)
    models = 1 if training.beside.training is None else 3
    training.state.eval_seconds = max(1e-6, (training.clock() - began) * models * len(val.images) / len(some))


@contextmanager
def _module_to_score(training: Training, weights: Weights | None = None) -> Iterator[nn.Module]:
    """The model in evaluation mode, with these weights, else the averaged ones, or where there are none its own."""
    state, device = training.state, training.ranks.device
    # Random numbers drawn by an evaluation must not change the training after it.
    with training.meter.phase("eval"), torch.random.fork_rng([device] if device.type == "cuda" else []):
        module = state.module
        if state.sharded:  # ranks evaluate images of their own, each with the whole model
            module = training.plan.card.build().to(device)
            copy_whole(state.module, module)
        elif state.average.decay:
            module = training.plan.card.build().to(device)
            module.load_state_dict(state.weights() if weights is None else weights)
        try:
            yield module.eval()
        finally:
            train_mode(state.module)


def _score(training: Training, module: nn.Module, val: Dataset, in_time: bool) -> Scored:
    """Score a model on images of the validation split."""
    plan, state, ranks = training.plan, training.state, training.ranks
    limit = plan.config.time
    deadline = math.inf if limit is None or not in_time else state.began + _TOLERANCE * limit
    progress = NotesOnly(training.progress)
    return score(
        BatchPredictor(
            module, ranks.device, min(state.micro_batch, state.validated_at_once or state.micro_batch), progress
        ),
        plan.card,
        val,
        ranks,
        ScoreOptions(
            keep_results_of=frozenset(image.id for image in sample_images(val)),
            skip_bad=plan.config.bad_pictures == "skip",
        ),
        progress,
        should_stop=lambda: training.stop.asked or (ranks.is_main and training.clock() > deadline),
    )


def save_last(training: Training) -> None:
    """Write ``last.pt``, from which a run resumes, and keep the one of an earlier step as ``last.previous.pt``.

    Weights that are not finite are not saved.
    """
    plan, state = training.plan, training.state
    began = training.clock()
    if not has_finite_weights(state, training.ranks):
        state.broken = True
        training.progress.note(f"warning: after step {state.step} the weights are not finite, and are not saved")
        return
    with training.meter.phase("save"):
        keep = plan.run / PREVIOUS if state.last_is_whole and state.saved_step != state.step else None
        content = state.to_checkpoint(plan.card, plan.data, training.ranks)
        content |= {"teaching": training.teaching.to_plain()}
        if training.beside.training is not None:
            content |= {"labels_alone": content_of(training.beside.training.state)}
        _save(plan.run / LAST, content, training, keep)
        state.saved_step, state.last_is_whole = state.step, True
    state.saved_at = training.clock()
    state.save_seconds = state.saved_at - began


def save_best(training: Training, weights: Weights | None = None) -> None:
    """Write ``best.pt``: the weights (those of the state, if none are given) and the model card."""
    card, state = training.plan.card, training.state
    model = whole(state.weights(), training.ranks) if weights is None else weights
    content = {"card": card.to_plain(), "model": model, "step": state.step}
    _save(training.plan.run / BEST, content, training)


@contextmanager
def saved_on_failure(training: Training) -> Iterator[None]:
    """Save the state when an image, the loss or the memory ends the run.

    Where one of several ranks failed in a way that the others could not learn of, the last checkpoint is older.
    """
    plan, state = training.plan, training.state
    try:
        yield
    except (SegkitError, torch.OutOfMemoryError) as error:
        saves = not (state.broken or (state.diverged and state.saved_step))  # the last checkpoint may be whole
        together = training.ranks.world_size == 1 or getattr(error, "everywhere", False)
        if state.step > state.saved_step and saves and together:
            save_last(training)
        if state.saved_step:
            going_on = "" if state.diverged else f"; go on with: segkit train --resume {plan.run}"
            has = f"{plan.run} has the state after" if state.diverged else "saved after"
            training.progress.note(f"{has} step {state.saved_step}{going_on}")
        elif state.broken:
            training.progress.note(f"{plan.run} has no checkpoint")
        raise


def _save(path: Path, content: dict[str, Any], training: Training, keep_as: Path | None = None) -> None:
    if training.ranks.is_main:
        save_checkpoint(path, content, keep_as)
        if not training.state.is_latest and not point_latest(path.parent):
            latest = path.parent.parent / LATEST
            training.progress.note(f"warning: {latest} is not segkit's and stays as it is; name the run: {path.parent}")
        training.state.is_latest = True
    training.ranks.barrier()
