"""Pictures -> results, overlays, LabelMe files: batch after batch, so that memory does not grow with pictures."""

import glob
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from segkit.config.predict import PredictConfig
from segkit.data.files import list_files
from segkit.data.geometry import Pixels
from segkit.data.pictures import PICTURE_SUFFIXES, load_upright_rgb
from segkit.data.records import Image
from segkit.errors import InputError
from segkit.inference.model import LoadedModel, load
from segkit.inference.outputs import JOURNAL, OWN_ENTRIES, PictureResults, Writer, read_journal
from segkit.loading.dataset import load_for_model
from segkit.models.tensors import prediction_to_results
from segkit.progress import SILENT, Progress
from segkit.runtime.device import reraise_out_of_memory, resolve_device


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What was predicted.

    Attributes:
        out: The folder.
        model: The file that predicted.
        pictures: Pictures predicted now.
        skipped: Pictures that had been done before.
        instances: Instances found in all pictures of the folder, by category.
        failed: Messages on pictures that could not be read.
        files: What was written, by output name.
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
    on_picture: Callable[[PictureResults], None] | None = None,
    stdin: Iterable[str] = (),
) -> PredictionSummary:
    """Predict pictures and write what was asked for; a picture that cannot be read does not stop the others.

    Args:
        config: Options of the command.
        progress: Shows how many pictures are done.
        on_picture: Called with the results of every picture as soon as it is done.
        stdin: Where ``-`` reads paths.

    Raises:
        InputError: There are no pictures, no model, or the output folder holds predictions already.
        DeviceError: A single picture needs more memory than there is.
    """
    found = _find_pictures(config, stdin)
    _check_target(config)
    with reraise_out_of_memory("try --device cpu"):
        model = load(config.model, resolve_device(config.device))
        before = _done_before(config, model.path)
        pictures = _name_pictures(found, {path: name for name, path in before.items()})
        todo = [(path, name) for path, name in pictures if name not in before]
        failed: list[str] = []
        with Writer(config.out, config.format, model.card.categories) as writer:
            for done in _results(model, todo, config, progress, failed):
                writer.write(done)
                if on_picture is not None:
                    on_picture(done)
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
        pictures: Files and names.
        config: Batch size and lowest score.
        progress: Shows how many pictures are done.
        failed: Receives messages on pictures that cannot be read.
    """
    predictor = model.in_batches(config.batch, progress, "predicting")
    category_names = {category.id: category.name for category in model.card.categories}
    progress.start("predicting", len(pictures))
    for start in range(0, len(pictures), config.batch):
        loaded, bad = _load(pictures[start : start + config.batch])
        failed += bad
        images = [load_for_model(each.pixels, model.card.framing) for each in loaded]
        predictions = predictor(images, [each.name for each in loaded])
        for each, image, prediction in zip(loaded, images, predictions, strict=True):
            record = Image(0, each.name, *each.pixels.shape[:2])
            height, width = image.shape[-2:]
            results = prediction_to_results(prediction, record, height, width, model.card.categories)
            yield PictureResults(
                name=each.name,
                path=each.path,
                height=record.height,
                width=record.width,
                results=tuple(result for result in results if result.score >= config.score),
                names=category_names,
                model=model.path.resolve(),
                pixels=each.pixels,
            )
        progress.advance(len(loaded) + len(bad))
    progress.done()


def _done_before(config: PredictConfig, model: Path) -> dict[str, Path]:
    """The pictures that ``--resume`` finds done, by name.

    Raises:
        InputError: Another model did them.
    """
    done = {}
    for entry in read_journal(config.out) if config.resume else ():
        if entry.model != model.resolve():
            raise InputError(
                f"{config.out}: its predictions are by {entry.model}, not by {model}",
                "choose another --out, or replace them with --force",
            )
        done[entry.name] = entry.path.resolve()
    return done


def _find_pictures(config: PredictConfig, stdin: Iterable[str]) -> dict[Path, str]:
    """The picture files that were named, in a stable order, with their names below what was named."""
    found: dict[Path, str] = {}
    for source in config.source:
        matches = sorted(glob.glob(source, recursive=True)) if glob.has_magic(source) else []  # noqa: PTH207
        for each in matches or [source]:
            found |= dict(list_files(each, PICTURE_SUFFIXES, stdin, skip=config.out))
    if not found:
        names = " ".join(config.source)
        raise InputError(f"{names}: no pictures there", f"known are {' '.join(sorted(PICTURE_SUFFIXES))}")
    return found


def _name_pictures(found: dict[Path, str], known: dict[Path, str]) -> list[tuple[Path, str]]:
    """Pictures with names that differ in more than their suffix; known ones keep theirs."""
    taken = {_stem(name) for name in known.values()}
    pictures = []
    for path, name in found.items():
        unique = known.get(path.resolve()) or next(n for n in _names(name) if _stem(n) not in taken)
        taken.add(_stem(unique))
        pictures.append((path, unique))
    return pictures


def _stem(name: str) -> str:
    """What a picture's outputs are named after; some file systems fold case."""
    return name.rpartition(".")[0].casefold()


def _names(name: str) -> Iterator[str]:
    stem, _, suffix = name.rpartition(".")
    yield name
    number = 2
    while True:
        yield f"{stem}_{number}.{suffix}"
        number += 1


def _check_target(config: PredictConfig) -> None:
    there = [entry for entry in OWN_ENTRIES if (config.out / entry).exists()]
    if not there or config.resume:
        return
    if not config.force:
        raise InputError(
            f"{config.out}: holds predictions",
            "go on with --resume, replace them with --force, or choose another --out",
        )
    if not (config.out / JOURNAL).is_file():
        raise InputError(f"{config.out}: has {', '.join(there)} that segkit did not make", "choose another --out")
    for entry in there:
        path = config.out / entry
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class _Loaded(NamedTuple):
    path: Path
    name: str
    pixels: Pixels  # [H, W, 3], upright


def _load(pictures: Sequence[tuple[Path, str]]) -> tuple[list[_Loaded], list[str]]:
    """The pictures that can be read, and messages on those that cannot."""
    loaded, failed = [], []
    for path, name in pictures:
        try:
            loaded.append(_Loaded(path, name, load_upright_rgb(path)))
        except InputError as error:
            failed.append(error.message)
    return loaded, failed
