"""Pictures -> results, overlays, LabelMe files: batch after batch, so that memory does not grow with the pictures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segkit.choices import ARCHITECTURES
from segkit.config.predict import PredictConfig
from segkit.data.files import checksum
from segkit.data.locks import only_writer_in
from segkit.data.records import Image, Result
from segkit.data.windows import TiffWindows
from segkit.errors import ConfigError, InputError
from segkit.evaluate.predicted_images import JOURNAL
from segkit.extras import extra_package
from segkit.inference.adjust import with_limits, with_views
from segkit.inference.batches import BatchPredictor
from segkit.inference.choose import Choice
from segkit.inference.estimates import FILE as ESTIMATES
from segkit.inference.estimates import Estimates, Row, write_estimates
from segkit.inference.input_files import Picture, find_pictures, name_pictures, with_pages
from segkit.inference.journal import Origin, PictureResults, drop_torn_line, read_journal
from segkit.inference.labelled import Labelled, open_labelled
from segkit.inference.load import InMemory, load_pictures
from segkit.inference.model import LoadedModel, load
from segkit.inference.notes import Notes
from segkit.inference.outputs import (
    MOST_IDS,
    OWN_ENTRIES,
    Style,
    Writer,
    has_files,
    remove_predictions,
    remove_unfinished_files,
)
from segkit.inference.thresholds import choice_of, promise_warning, score_used
from segkit.inference.tiled import predict_tiles, tiling_of
from segkit.models.tensors import prediction_to_results
from segkit.progress import SILENT, Progress
from segkit.runtime.device import reraise_out_of_memory, resolve_device


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What was predicted and written.

    Attributes:
        out: The output folder.
        model: The file of the model.
        pictures: Number of pictures predicted now.
        skipped: Number of pictures that had been predicted before.
        instances: Number of instances in all pictures of the folder, by category.
        failed: Messages on pictures that could not be read.
        warnings: What the results do not hold, or hold otherwise than one may think.
        files: Files and folders written, by format.
        estimates: Counts and areas over all pictures, with ``--labelled``.
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


def predict(
    config: PredictConfig,
    progress: Progress = SILENT,
    on_picture: Callable[[dict[str, Any]], None] = lambda record: None,
    stdin: Iterable[str] = (),
) -> PredictionSummary:
    """Predict pictures and write the results; a picture that cannot be read does not stop the others.

    Args:
        config: Options of the command.
        progress: Shows how many pictures are done.
        on_picture: Called with the record of each picture, as in the journal, as soon as it is written.
        stdin: Where ``-`` reads paths.

    Raises:
        InputError: There are no pictures, no model, or the output folder holds predictions already.
        ConfigError: The model does not predict what is to be written.
        DeviceError: A single picture needs more memory than there is.
    """
    found = find_pictures(config.source, config.out, stdin)
    with reraise_out_of_memory("try --device cpu"):
        model = load(config.model, resolve_device(config.device), trust=config.trust)
        for note in model.notes:
            progress.note(note)
        model = with_views(with_limits(model, config.max_instances, config.nms), config.tta)
        formats = _formats(config, model)
        choice = choice_of(config, model.card.categories, model.path)
        origin = Origin(model.path.resolve(), checksum(model.path), score_used(config, choice), config.choice_options())
        labelled = None if config.labelled is None else open_labelled(config.labelled, model)
        with _output_folder(config.out):
            if labelled is not None and config.labelled is not None:
                labelled.check(config.labelled, name_pictures(found, []))
            _clear(config)
            before = _predicted_before(config, model.path, origin)
            pictures = name_pictures(found, before)
            if config.pages == "all":
                pictures = list(with_pages(pictures))
                if "labelme" in formats and any(picture.page is not None for picture in pictures):
                    raise ConfigError("--pages all: LabelMe shows the first page of a file only", "use other formats")
            done_before = {picture.name for picture in before if has_files(config.out, formats, picture)}
            todo = [picture for picture in pictures if picture.name not in done_before]
            limit = model.card.settings.detections if model.card.framing.kind == "instances" else None
            notes = Notes(limit, MOST_IDS if "idmask" in formats else None)
            style = Style(config.labels, config.line_width, without_cut=config.edge == "mark")
            with closing(Writer(config.out, formats, model.card.categories, style)) as writer:
                for done in _results(model, todo, config, choice, origin, progress, notes):
                    on_picture(writer.write(done))
                files, instances = writer.finish()
            estimates = _estimates(config, model, labelled, choice)
    return PredictionSummary(
        out=config.out,
        model=model.path,
        pictures=len(todo) - len(notes.failed),
        skipped=len(pictures) - len(todo),
        instances=instances,
        failed=tuple(notes.failed),
        warnings=(
            *promise_warning(config),
            *notes.warnings(),
            *writer.notes,
            *estimates.warnings,
        ),
        files=files | ({"estimates": config.out / ESTIMATES} if labelled is not None else {}),
        estimates=estimates.rows,
    )


def _estimates(config: PredictConfig, model: LoadedModel, labelled: Labelled | None, choice: Choice) -> Estimates:
    """Counts and areas over all pictures of the output folder; nothing without annotated ones."""
    if labelled is None:
        return Estimates((), ())
    names = {category.id: category.name for category in model.card.categories}
    masks = ARCHITECTURES[model.card.model].masks
    return write_estimates(config.out, labelled, names, choice, masks=masks, without_cut=config.edge == "mark")


@contextmanager
def _output_folder(out: Path) -> Iterator[None]:
    """The output folder, to which no other process writes meanwhile, without what one that was killed has left.

    Raises:
        InputError: Another process writes there, or it may not be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise InputError(f"{out}: no permission to write there", "choose another --out") from error
    with only_writer_in(out, "wait for its end, or choose another --out"):
        remove_unfinished_files(out)
        yield


def _formats(config: PredictConfig, model: LoadedModel) -> tuple[str, ...]:
    """What is written: for a U-Net also the class maps that ``eval`` scores, where nothing was asked for.

    Raises:
        ConfigError: The model does not predict it.
    """
    kind, formats = ARCHITECTURES[model.card.model], config.formats
    if "csv" in formats:
        formats = (*formats, "measures")
    if "imagej" in formats:
        extra_package("roifile", "--format imagej", "imagej")
    if kind.pixels:
        return formats if "format" in config.given_options() else (*formats, "classmap")
    if "classmap" in formats:
        raise ConfigError(f"--format classmap: {model.path} predicts instances, not a label for every pixel")
    if "idmask" in formats and not kind.masks:
        raise ConfigError(f"--format idmask: {model.path} predicts boxes only", "use overlay, coco, labelme or csv")
    return formats


def _clear(config: PredictConfig) -> None:
    """Remove earlier predictions from the output folder with ``--force``.

    Raises:
        InputError: It holds predictions, and neither ``--resume`` nor ``--force`` was given; or files of others.
    """
    present = [entry for entry in OWN_ENTRIES if (config.out / entry).exists()]
    if not present:
        return
    if not (config.out / JOURNAL).is_file():
        raise InputError(f"{config.out}: has {', '.join(present)} that segkit did not make", "choose another --out")
    if config.resume:
        return
    if not config.force:
        raise InputError(
            f"{config.out}: holds predictions",
            "go on with --resume, replace them with --force, or choose another --out",
        )
    remove_predictions(config.out)


def _predicted_before(config: PredictConfig, model: Path, origin: Origin) -> list[Picture]:
    """The pictures that ``--resume`` skips.

    Raises:
        InputError: They were predicted by another model, or with another ``--score``.
    """
    if not config.resume:
        return []
    drop_torn_line(config.out)
    before = []
    for done in read_journal(config.out):
        theirs = done.origin
        if theirs.model != origin.model:
            what = f"its predictions are by {theirs.model}, not by {model}"
        elif theirs.checksum not in (None, origin.checksum):
            what = f"its predictions are by {model} as it was before: the file has changed since"
        elif theirs.score not in (None, origin.score):
            what = f"its predictions were made with --score {theirs.score}, not {origin.score}"
        elif (other := config.other_choice(theirs.options)) is not None:
            what = f"its predictions were made {other}"
        else:
            before.append(done.picture)
            continue
        raise InputError(f"{config.out}: {what}", "choose another --out, or replace them with --force")
    return before


@torch.inference_mode()
def _results(
    model: LoadedModel,
    pictures: Sequence[Picture],
    config: PredictConfig,
    choice: Choice,
    origin: Origin,
    progress: Progress,
    notes: Notes,
) -> Iterator[PictureResults]:
    """The results of pictures, predicted batch by batch, in their order.

    Args:
        model: The model.
        pictures: What to predict.
        config: Batch size, and the size of pixels.
        choice: Which instances are kept.
        origin: What the results depend on.
        progress: Shows how many pictures are done.
        notes: Receives what is to be said of pictures.
    """
    predictor = model.in_batches(config.batch, progress, "predicting")
    progress.start("predicting", len(pictures))
    for start in range(0, len(pictures), config.batch):
        part = pictures[start : start + config.batch]
        loaded = list(load_pictures(part, model, config, choice, origin, notes))
        whole = [(done, image) for done, image in loaded if isinstance(image, Tensor)]
        predictions = iter(predictor([image for _, image in whole], [done.picture.name for done, _ in whole]))
        for done, image in loaded:
            if not isinstance(image, Tensor):
                try:
                    with closing(image):
                        results, class_map = _in_tiles(done, image, model, predictor, config, choice, notes, progress)
                except InputError as error:  # a part of its file is broken
                    notes.failed.append(error.message)
                    continue
            else:
                prediction = next(predictions)
                record = Image(0, done.picture.name, done.height, done.width)
                height, width = image.shape[-2:]
                aligned = model.card.settings.aligned_masks
                results = prediction_to_results(
                    prediction, record, height, width, model.card.categories, aligned_masks=aligned
                )
                class_map = prediction.get("semantic")
            kept = choice.of(results, done.height, done.width, done.pixel_size)
            if isinstance(image, Tensor):
                notes.predicted(done.picture.name, len(kept))
            yield replace(done, results=kept, class_map=class_map)
        progress.advance(len(part))
    progress.done()


def _in_tiles(
    done: PictureResults,
    picture: "TiffWindows | InMemory",
    model: LoadedModel,
    predictor: BatchPredictor,
    config: PredictConfig,
    choice: Choice,
    notes: Notes,
    progress: Progress,
) -> tuple[list[Result], npt.NDArray[np.uint8] | None]:
    """The results of a picture that is too large to be predicted whole."""
    size = (done.height, done.width)
    tiling = tiling_of(config, model.card.framing, *size)
    assert tiling is not None
    notes.tiled.append((done.picture.name, tiling.side))
    return predict_tiles(
        model,
        predictor,
        done.picture.name,
        size,
        lambda tile: picture.window(tile.top, tile.left, tile.height, tile.width),
        tiling,
        choice,
        progress,
    )
