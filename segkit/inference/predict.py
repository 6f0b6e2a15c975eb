"""Pictures -> results, overlays, LabelMe files: batch after batch, so that memory does not grow with the pictures."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit.config.predict import PredictConfig
from segkit.data.pixels import load_upright_rgb
from segkit.data.records import Image
from segkit.errors import InputError
from segkit.inference.input_files import find_pictures, name_pictures
from segkit.inference.model import LoadedModel, load
from segkit.inference.outputs import JOURNAL, OWN_ENTRIES, PictureResults, Writer, read_journal
from segkit.loading.dataset import load_for_model
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
        files: Files and folders written, by format.
    """

    out: Path
    model: Path
    pictures: int
    skipped: int
    instances: dict[str, int]
    failed: tuple[str, ...]
    files: dict[str, Path]


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
        DeviceError: A single picture needs more memory than there is.
    """
    found = find_pictures(config.source, config.out, stdin)
    _clear(config)
    with reraise_out_of_memory("try --device cpu"):
        model = load(config.model, resolve_device(config.device))
        before = _predicted_before(config, model.path)
        pictures = name_pictures(found, {path: name for name, path in before.items()})
        todo = [(path, name) for path, name in pictures if name not in before]
        failed: list[str] = []
        with closing(Writer(config.out, config.format, model.card.categories)) as writer:
            for done in _results(model, todo, config, progress, failed):
                on_picture(writer.write(done))
            files, instances = writer.finish()
    return PredictionSummary(
        out=config.out,
        model=model.path,
        pictures=len(todo) - len(failed),
        skipped=len(pictures) - len(todo),
        instances=instances,
        failed=tuple(failed),
        files=files,
    )


def _clear(config: PredictConfig) -> None:
    """Remove earlier predictions from the output folder with ``--force``.

    Raises:
        InputError: It holds predictions, and neither ``--resume`` nor ``--force`` was given; or files of others.
    """
    present = [entry for entry in OWN_ENTRIES if (config.out / entry).exists()]
    if not present or config.resume:
        return
    if not config.force:
        raise InputError(
            f"{config.out}: holds predictions",
            "go on with --resume, replace them with --force, or choose another --out",
        )
    if not (config.out / JOURNAL).is_file():
        raise InputError(f"{config.out}: has {', '.join(present)} that segkit did not make", "choose another --out")
    for entry in present:
        path = config.out / entry
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _predicted_before(config: PredictConfig, model: Path) -> dict[str, Path]:
    """The pictures that ``--resume`` skips: resolved paths by name.

    Raises:
        InputError: They were predicted by another model.
    """
    before = {}
    for picture in read_journal(config.out) if config.resume else ():
        if picture.model != model.resolve():
            raise InputError(
                f"{config.out}: its predictions are by {picture.model}, not by {model}",
                "choose another --out, or replace them with --force",
            )
        before[picture.name] = picture.path.resolve()
    return before


@torch.inference_mode()
def _results(
    model: LoadedModel,
    pictures: Sequence[tuple[Path, str]],
    config: PredictConfig,
    progress: Progress,
    failed: list[str],
) -> Iterator[PictureResults]:
    """The results of pictures, predicted batch by batch.

    Args:
        model: The model.
        pictures: Paths and names.
        config: Batch size and lowest score.
        progress: Shows how many pictures are done.
        failed: Receives messages on pictures that cannot be read.
    """
    predictor = model.in_batches(config.batch, progress, "predicting")
    progress.start("predicting", len(pictures))
    for start in range(0, len(pictures), config.batch):
        loaded, bad = _load(pictures[start : start + config.batch], model)
        failed += bad
        predictions = predictor([image for _, image in loaded], [picture.name for picture, _ in loaded])
        for (picture, image), prediction in zip(loaded, predictions, strict=True):
            record = Image(0, picture.name, picture.height, picture.width)
            height, width = image.shape[-2:]
            results = prediction_to_results(prediction, record, height, width, model.card.categories)
            yield replace(picture, results=tuple(result for result in results if result.score >= config.score))
        progress.advance(len(loaded) + len(bad))
    progress.done()


def _load(
    pictures: Sequence[tuple[Path, str]], model: LoadedModel
) -> tuple[list[tuple[PictureResults, Tensor]], list[str]]:
    """The pictures that can be read, without results yet and as the model gets them, and messages on the others."""
    loaded, failed, file = [], [], model.path.resolve()
    for path, name in pictures:
        try:
            pixels = load_upright_rgb(path)
        except InputError as error:
            failed.append(error.message)
            continue
        height, width = pixels.shape[:2]
        picture = PictureResults(name, path, height, width, file, pixels=pixels)
        loaded.append((picture, load_for_model(pixels, model.card.framing)))
    return loaded, failed
