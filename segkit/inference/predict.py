"""Pictures -> results, overlays, LabelMe files: batch after batch, so that memory does not grow with the pictures.

Threads read the next pictures and write the last ones while the model works. Several ranks share the batches; what one
process would write is what they write.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from segkit.choices import ARCHITECTURES
from segkit.config.predict import PredictConfig
from segkit.data.files import checksum, unreadable_folders
from segkit.errors import Interrupted, SegkitError
from segkit.evaluation.predicted_images import JOURNAL
from segkit.inference.annotated import Style
from segkit.inference.choose import Choice
from segkit.inference.estimates import FILE as ESTIMATES
from segkit.inference.estimates import Estimates, Row, write_estimates
from segkit.inference.frames import check_package
from segkit.inference.input_files import find_pictures, name_pictures
from segkit.inference.journal import Origin, take_in_ranks
from segkit.inference.labelled import Labelled, open_labelled
from segkit.inference.limits import with_limits, with_views
from segkit.inference.load import Task
from segkit.inference.model import LoadedModel, load, needs_torch
from segkit.inference.notes import Notes
from segkit.inference.output_folder import Work, formats_of, opened_folder, work_of
from segkit.inference.outputs import Writer
from segkit.inference.pipeline import Pipeline, threads_of
from segkit.inference.predicting import Predicted
from segkit.inference.thresholds import choice_of, promise_warning, score_used
from segkit.inference.watch import one_by_one, predict_arrivals
from segkit.inference.what_fits import measure
from segkit.progress import SILENT, Progress
from segkit.runtime.memory_errors import reraise_out_of_memory
from segkit.runtime.ranks import RankLost, Ranks, adopt_slurm, by_itself, launched_from_outside
from segkit.runtime.signals import StopRequest, stop_requests

OnPicture = Callable[[dict[str, Any]], None]
_STOPPING = "ending after the pictures at hand; a second request ends at once"
_GO_ON = "go on with: segkit predict --resume, and the other options as they were"
_LONGEST = timedelta(days=365)  # one rank may wait for another for as long as that one predicts


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What was predicted and written.

    Attributes:
        out: The output folder.
        model: The file of the model.
        pictures: Number of pictures predicted now.
        skipped: Number of pictures that had been predicted before.
        instances: Number of instances in all pictures of the folder, by category.
        failed: Messages on pictures and folders that could not be read.
        warnings: What the results do not hold, or hold otherwise than one may think.
        files: Files and folders written, by format.
        estimates: Counts and areas over all pictures, with ``--labelled``.
        is_main: Whether this process speaks for all ranks.
        limit: Which limit ended a watch, in words.
        journal: The file of ``records()``, in full: a caller may have changed the folder since.
    """

    out: Path
    model: Path
    pictures: int
    skipped: int
    instances: dict[str, int]
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    files: dict[str, Path]
    estimates: tuple[Row, ...] = ()
    is_main: bool = True
    limit: str | None = None
    journal: Path | None = field(default=None, repr=False, compare=False)

    def records(self) -> Iterator[dict[str, Any]]:
        """What ``predict --json`` prints of each picture of the folder, also of those that were done before."""
        with (self.journal or self.out / JOURNAL).open("rb") as file:
            for line in file:
                yield msgspec.json.decode(line)


def _pass_on() -> None:
    """The loop sees by itself that it is to stop."""


def pass_over(record: dict[str, Any]) -> None:
    """Nobody listens; ranks pickle it."""


def predict(
    config: PredictConfig,
    progress: Progress = SILENT,
    on_picture: OnPicture = pass_over,
    stdin: Iterable[str] = (),
) -> PredictionSummary:
    """Predict pictures and write the results; a picture that cannot be read does not stop the others.

    With several ``gpus`` or ``ranks`` one process for each is started; started by torchrun or srun, this process joins
    the other ranks.

    Args:
        config: Options of the command.
        progress: Shows how many pictures are done.
        on_picture: Called with the record of each picture, as in the journal, as soon as it is written; by each rank
            for its pictures.
        stdin: Where ``-`` reads paths; of several ranks the first one reads them.

    Raises:
        InputError: There are no pictures, no model, or the output folder holds predictions already.
        ConfigError: The model does not predict what is to be written.
        DeviceError: A single picture needs more memory than there is, or a rank has died.
        Interrupted: The user asked to stop.
    """
    adopt_slurm()
    joins = launched_from_outside()
    found: Mapping[Path, str] = {}
    with unreadable_folders() as unreadable:
        if not joins or os.environ["RANK"] == "0":
            found = find_pictures(config.source, config.out, stdin, may_be_none=config.watch, videos=not config.watch)
            check_package(found, config, progress)
    summary = _predict_found(config, found, joins, progress, on_picture)
    closed = [f"{folder}: a folder that cannot be read: {why}" for folder, why in sorted(unreadable.items())]
    return replace(summary, failed=(*closed, *summary.failed))


def _predict_found(
    config: PredictConfig, found: Mapping[Path, str], joins: bool, progress: Progress, on_picture: OnPicture
) -> PredictionSummary:
    """Predict pictures in this process, or in one for each rank.

    Args:
        config: Options of the command.
        found: The pictures' names by their paths.
        joins: Whether torchrun or srun has started this process.
        progress: Shows how many pictures are done.
        on_picture: As of ``predict``.
    """
    if config.gpus and (len(config.gpus) > 1 or needs_torch(config.model)):
        from segkit.runtime.device import check_gpus  # noqa: PLC0415 -- files predict without PyTorch

        check_gpus(config.gpus)
    num_ranks = len(config.gpus) if config.gpus else config.ranks
    if joins and not config.gpus and num_ranks != 1:
        progress.note(f"warning: --ranks {num_ranks} starts none: RANK and WORLD_SIZE say that the ranks are there")
    if num_ranks == 1 or joins:
        return _predict_in_rank(config, found, progress, on_picture)
    arguments = (config, found, progress, on_picture)
    from segkit.runtime.launch import launch_ranks  # noqa: PLC0415 -- likewise

    return launch_ranks(_predict_in_rank, arguments, num_ranks, hint=_GO_ON)


def _predict_in_rank(
    config: PredictConfig, found: Mapping[Path, str], progress: Progress, on_picture: OnPicture
) -> PredictionSummary:
    with ExitStack() as stack:
        ranks = stack.enter_context(_ranks(config, progress))
        stop = None
        if ranks.world_size > 1 or config.watch:
            on_first = partial(progress.note, _STOPPING) if config.watch else _pass_on
            stop = stack.enter_context(stop_requests(on_first))
        try:
            return _predict(config, found, ranks, stop, progress, on_picture)
        except KeyboardInterrupt:
            raise Interrupted("interrupted", _GO_ON) from None
        except RuntimeError as error:
            if ranks.world_size == 1 or "gloo" not in str(error):
                raise
            raise RankLost("another rank has ended, and this one with it", _GO_ON) from error


def _ranks(config: PredictConfig, progress: Progress) -> AbstractContextManager[Ranks]:
    """The ranks; without PyTorch where this process is the only one, and its model needs none."""
    if not launched_from_outside() and not needs_torch(config.model):
        return nullcontext(by_itself())
    from segkit.runtime.join import joined_ranks  # noqa: PLC0415 -- files predict without PyTorch

    return joined_ranks(config.device, config.gpus, progress.note, backend="gloo", timeout=_LONGEST)


def _device(config: PredictConfig, ranks: Ranks) -> Any:
    """Where the model computes: where its rank does; without PyTorch, its name."""
    if ranks.device is not None:
        return ranks.device
    return config.device if config.gpus is None else f"cuda:{config.gpus[0]}"


def _predict(
    config: PredictConfig,
    found: Mapping[Path, str],
    ranks: Ranks,
    stop: StopRequest | None,
    of_rank: Progress,
    on_picture: OnPicture,
) -> PredictionSummary:
    progress = of_rank if ranks.is_main else SILENT
    with reraise_out_of_memory("try --device cpu"), ExitStack() as stack:
        task, formats = _task(config, ranks, progress)
        model, own = task.model, None
        work, labelled = _work(task, found, formats, ranks, stack)
        cut = config.edge == "mark"
        style = Style(
            config.labels, config.line_width, without_cut=cut, tolerance=config.polygon_tolerance, every=config.every
        )
        with closing(Writer(config.out, formats, model.card.categories, style, ranks.rank, model.card.stuff)) as writer:
            ranks.barrier()  # the journal of the first one is there
            if config.watch:
                assert stop is not None
                notes, own = predict_arrivals(task, found, work, formats, ranks, stop, writer, of_rank, on_picture)
            else:
                notes = _predict_part(task, work, formats, ranks, stop, writer, progress, on_picture)
            if not ranks.is_main:
                return PredictionSummary(config.out, model.path, 0, 0, {}, (), (), {}, is_main=False)
            take_in_ranks(config.out, work.order if own is None else own.order, anyway=work.by_ranks)
            files, instances = writer.finish(progress)
        estimates = _estimates(config, model, labelled, task.choice)
    return PredictionSummary(
        out=config.out,
        model=model.path,
        pictures=len(work.todo) - notes.not_predicted if own is None else own.pictures,
        skipped=work.skipped,
        instances=instances,
        failed=(*notes.errors(), *work.complaints),
        warnings=(*promise_warning(config), *notes.warnings(), *writer.notes, *estimates.warnings),
        files=files | ({"estimates": config.out / ESTIMATES} if labelled is not None else {}),
        estimates=estimates.rows,
        limit=None if own is None else own.limit,
        journal=(config.out / JOURNAL).absolute(),
    )


def _task(config: PredictConfig, ranks: Ranks, progress: Progress) -> tuple[Task, tuple[str, ...]]:
    """What pictures are predicted with, and what is written."""
    model = load(config.model, _device(config, ranks), trust=config.trust, vram=config.vram)
    for note in model.notes:
        progress.note(note)
    model = with_views(with_limits(model, config.max_instances, config.nms), config.tta)
    formats = formats_of(config, model)
    choice = choice_of(config, model.card.categories, model.path)
    origin = Origin(model.path.resolve(), checksum(model.path), score_used(config, choice), config.choice_options())
    return Task(model, config, choice, origin, fits=measure(model) if config.tile == "auto" else None), formats


def _work(
    task: Task, found: Mapping[Path, str], formats: Sequence[str], ranks: Ranks, stack: ExitStack
) -> tuple[Work, Labelled | None]:
    """What is left to do, on all ranks; the first one keeps the output folder until the stack is closed."""
    config, model = task.config, task.model
    work, labelled, failure = Work(), None, None
    if ranks.is_main:
        try:
            labelled = None if config.labelled is None else open_labelled(config.labelled, model)
            stack.enter_context(opened_folder(config.out))
            if labelled is not None and config.labelled is not None:
                labelled.check(config.labelled, name_pictures(found, []))
            work = work_of(config, model.path, task.origin, found, formats)
        except SegkitError as error:
            failure = error
    ranks.raise_together(failure)
    return ranks.gather(work)[0], labelled


def _estimates(config: PredictConfig, model: LoadedModel, labelled: Labelled | None, choice: Choice) -> Estimates:
    """Counts and areas over all pictures of the output folder; nothing without annotated ones."""
    if labelled is None:
        return Estimates((), ())
    names = {category.id: category.name for category in model.card.categories}
    masks = ARCHITECTURES[model.card.model].masks
    return write_estimates(config.out, labelled, names, choice, masks=masks, without_cut=config.edge == "mark")


def _predict_part(
    task: Task,
    work: Work,
    formats: Sequence[str],
    ranks: Ranks,
    stop: StopRequest | None,
    writer: Writer,
    progress: Progress,
    on_picture: OnPicture,
) -> Notes:
    """Predict a rank's batches, which are batches of one process, too.

    Returns:
        What is to be said of the pictures of all ranks.

    Raises:
        Interrupted: The user asked to stop.
    """
    config, batch = task.config, task.config.batch
    batches = [work.todo[start : start + batch] for start in range(0, len(work.todo), batch)]

    report = one_by_one(on_picture, config.out, ranks)

    def written(predicted: Predicted, record: dict[str, Any]) -> None:
        report(record)

    def ends() -> bool:
        if stop is not None and stop.asked:
            raise Interrupted("interrupted", _GO_ON)
        return False

    pipeline = Pipeline(task, writer, formats, written, progress, threads_of(config))
    own = batches[ranks.rank :: ranks.world_size]
    task.frames.expect(chain.from_iterable(own))
    progress.start("predicting", sum(map(len, own)))
    said = [(number * ranks.world_size + ranks.rank, notes) for number, notes in pipeline.run(own, ends)]
    progress.done()
    writer.kept = list(chain.from_iterable(ranks.gather(writer.kept)))
    every = pipeline.no_notes()
    for _, notes in sorted(chain.from_iterable(ranks.gather(said)), key=lambda pair: pair[0]):
        every.add(notes)
    return every
