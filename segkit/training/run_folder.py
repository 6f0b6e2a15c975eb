"""The folder of a run: made for a new one, its config brought up to date for one that goes on."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.config.fields import load_config, write_toml
from segkit.config.train import TrainConfig
from segkit.data.files import remove_temporary_files, temporary_file
from segkit.data.locks import only_writer_in
from segkit.errors import InputError, SegkitError
from segkit.progress import Progress
from segkit.runs.folder import CONFIG, FAILURES, LABELS, new_run, remove_run, write_origin
from segkit.runtime.device import device_name
from segkit.runtime.ranks import Ranks
from segkit.text import one_line
from segkit.training.contract import Contract
from segkit.training.plan import Plan
from segkit.training.run_options import LIMITS
from segkit.training.state import TrainingState

_KEPT = (*LIMITS, "patience", "dataset")  # what a resumed run may change for good


@contextmanager
def run_folder(
    plan: Plan,
    asked: TrainConfig,
    state: TrainingState,
    ranks: Ranks,
    progress: Progress,
    contract: Contract | None = None,
) -> Iterator[Plan]:
    """The plan with the folder of its run.

    A new folder is removed if the run ends before its first step is done, and no failing step is kept in it.

    Args:
        plan: The run.
        asked: The options as given.
        state: Its state, before the first step.
        ranks: The processes that share it.
        progress: Shows what is different in a run that goes on.
        contract: What it will need, for ``origin.json`` of a new run.

    Raises:
        SegkitError: On all ranks: the folder cannot be made or written.
    """
    if asked.resume is not None:
        with _held(plan.run, ranks):
            _bring_up_to_date(plan, state, ranks, progress)
            yield plan
        return
    run, failure = None, None
    if ranks.is_main:
        try:
            run = _make_run(plan, asked, ranks, contract)
        except SegkitError as error:
            failure = error
        except OSError as error:
            failure = InputError(f"{error.filename}: {error.strerror}", "choose another folder for runs: --out")
    ranks.raise_together(failure)
    path = Path(ranks.gather(run)[0])
    try:
        with _held(path, ranks):
            yield replace(plan, run=path)
    except BaseException:
        if ranks.is_main and state.step == 0 and not (path / FAILURES).is_dir():
            remove_run(path)
        raise


@contextmanager
def _held(run: Path, ranks: Ranks) -> Iterator[None]:
    """Keep other processes from training the same run, and remove what one that was killed has left.

    Raises:
        InputError: On all ranks: another process trains it.
    """
    with ExitStack() as stack:
        failure = None
        if ranks.is_main:
            try:
                stack.enter_context(only_writer_in(run, "wait for its end, or end it"))
                remove_temporary_files(run)
                remove_temporary_files(run / FAILURES)
            except SegkitError as error:
                failure = error
        ranks.raise_together(failure)
        yield


def _make_run(plan: Plan, asked: TrainConfig, ranks: Ranks, contract: Contract | None) -> Path:
    """Make the folder of a new run, with its config, labels and origin."""
    run = new_run(asked.out, asked.name, asked.model)
    try:
        write_toml(replace(plan.config.with_absolute_places(), name=None), run / CONFIG)
        _write_labels(plan, run)
        more: dict[str, Any] = {"teacher": plan.teacher.origin()} if plan.teacher is not None else {}
        more |= {"memory": contract.to_json()} if contract is not None else {}
        write_origin(run, device_name(ranks.device), ranks.world_size, more)
    except BaseException:
        remove_run(run)
        raise
    return run


def _write_labels(plan: Plan, run: Path) -> None:
    with temporary_file(run / LABELS) as temporary:
        lines = "".join(f"{one_line(each.name)}\n" for each in plan.card.categories)
        temporary.write_text(lines, encoding="utf-8")


def _bring_up_to_date(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress) -> None:
    """Write new limits into the run's config, so that they hold after an interruption, and say what they change."""
    path = plan.run / CONFIG
    stored = load_config(TrainConfig, path)
    values = {name: getattr(plan.config, name) for name in _KEPT} | {"dataset": plan.config.dataset.absolute()}
    ranks.barrier()  # all have read the file
    if any(getattr(stored, name) != value for name, value in values.items()):
        if ranks.is_main:
            with temporary_file(path) as temporary:
                write_toml(replace(stored, **values), temporary)
        if any(getattr(stored, name) != values[name] for name in LIMITS):
            _say_what_the_limit_changes(plan, state, progress)
    if ranks.is_main and not state.saved_step:  # no checkpoint yet: the data may have other categories
        _write_labels(plan, plan.run)


def _say_what_the_limit_changes(plan: Plan, state: TrainingState, progress: Progress) -> None:
    """Say how the learning rate goes on under a new limit, and when the limit is reached already."""
    done = plan.done(state.step, state.seconds)
    if done >= 1:
        progress.note(f"the limit is reached already, after step {state.step}")
        return
    group = state.optimizer.param_groups[0]
    before = group["lr"] / group["factor"] if group["factor"] else 0.0
    after = plan.learning_rate(done, state.step)
    if state.step and plan.config.schedule != "constant":
        progress.note(
            f"the {plan.config.schedule} schedule is laid over the new length: the learning rate goes on with "
            f"{after:.2g}, it was {before:.2g}"
        )
