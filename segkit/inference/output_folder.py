"""The output folder of ``predict``: who may write there, what is there already, and what is left to do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.choices import ARCHITECTURES
from segkit.config.predict import PredictConfig
from segkit.data.locks import only_writer_in
from segkit.errors import ConfigError, InputError
from segkit.evaluation.predicted_images import JOURNAL
from segkit.extras import extra_package
from segkit.inference.frames import with_frames
from segkit.inference.input_files import Picture, name_pictures, with_pages
from segkit.inference.journal import Origin, PictureResults, drop_torn_line, left_by_ranks, read_journal, take_in_ranks
from segkit.inference.model import LoadedModel
from segkit.inference.output_files import OWN_ENTRIES, has_files, remove_predictions, remove_unfinished_files


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do.

    Attributes:
        todo: The pictures to predict.
        skipped: How many were predicted before.
        order: The names of all of them, in their order.
        before: Those that were named before.
        done: The names of those of them that were predicted.
        complaints: What is wrong with videos of which some frames are there.
        by_ranks: Whether ranks that were killed have left journals: then the journal is not in that order.
    """

    todo: tuple[Picture, ...] = ()
    skipped: int = 0
    order: tuple[str, ...] = ()
    before: tuple[Picture, ...] = ()
    done: frozenset[str] = frozenset()
    complaints: tuple[str, ...] = ()
    by_ranks: bool = False


@contextmanager
def opened_folder(out: Path) -> Iterator[None]:
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


def formats_of(config: PredictConfig, model: LoadedModel) -> tuple[str, ...]:
    """What is written: for a U-Net also the class maps that ``eval`` scores, where nothing was asked for.

    Raises:
        ConfigError: The model does not predict it.
    """
    kind, formats = ARCHITECTURES[model.card.model], config.formats
    if "csv" in formats:
        formats = (*formats, "measures")
    if "imagej" in formats:
        extra_package("roifile", "--format imagej", "imagej")
    if "gpkg" in formats:
        extra_package("pyogrio", "--format gpkg", "geo")
    if kind.pixels or kind.stuff:
        if "panoptic" in formats and not kind.stuff:
            raise _no_segments(model)
        own = ("classmap", "panoptic") if kind.stuff else ("classmap",)
        return formats if "format" in config.given_options() else (*formats, *own)
    if "panoptic" in formats:
        raise _no_segments(model)
    if "classmap" in formats:
        raise ConfigError(f"--format classmap: {model.path} predicts instances, not a label for every pixel")
    if "idmask" in formats and not kind.masks:
        raise ConfigError(f"--format idmask: {model.path} predicts boxes only", "use overlay, coco, labelme or csv")
    return formats


def _no_segments(model: LoadedModel) -> ConfigError:
    return ConfigError(
        f"--format panoptic: {model.path} does not find things and stuff", "train one: segkit train --model panoptic"
    )


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
    take_in_ranks(config.out, ())
    remove_predictions(config.out)


def _refuse_own_pictures(config: PredictConfig, found: Iterable[Path]) -> None:
    """Check that ``--force`` deletes none of the pictures that are to be predicted, such as earlier overlays.

    Raises:
        InputError: It would.
    """
    if not config.force or config.resume:
        return
    own = [config.out.resolve() / entry for entry in OWN_ENTRIES]
    for path in found:
        if any(path.resolve().is_relative_to(each) for each in own):
            raise InputError(f"{path}: is in {config.out}, which --force empties first", "choose another --out")


def _predicted_before(config: PredictConfig, model: Path, origin: Origin) -> list[PictureResults]:
    """What ``--resume`` skips, without the instances.

    Raises:
        InputError: They were predicted by another model, or with another ``--score``.
    """
    if not config.resume:
        return []
    drop_torn_line(config.out)
    take_in_ranks(config.out, ())
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
            before.append(replace(done, results=()))
            continue
        raise InputError(f"{config.out}: {what}", "choose another --out, or replace them with --force")
    return before


def work_of(
    config: PredictConfig, model: Path, origin: Origin, found: Mapping[Path, str], formats: Sequence[str]
) -> Work:
    """Make room in the output folder, and see what is left to do.

    Args:
        config: The options.
        model: The file of the model.
        origin: What the results depend on.
        found: Names of pictures by path.
        formats: What is written.

    Raises:
        InputError: The folder has what may not be replaced, or predictions of another model.
        ConfigError: LabelMe files of pages are asked for.
    """
    by_ranks = config.resume and bool(left_by_ranks(config.out))
    _refuse_own_pictures(config, found)
    _clear(config)
    journal = _predicted_before(config, model, origin)
    before = [done.picture for done in journal]
    complaints: list[str] = []
    pictures = list(with_frames(name_pictures(found, before), config.every, complaints))
    _check_videos(config, pictures, formats)
    if config.pages == "all":
        pictures = list(with_pages(pictures))
        several = config.watch or any(picture.page is not None for picture in pictures)
        if "labelme" in formats and several:
            raise ConfigError("--pages all: LabelMe shows the first page of a file only", "use other formats")
    order = tuple(picture.name for picture in pictures)
    done_before = {done.picture.name for done in journal if has_files(config.out, formats, done)}
    todo = tuple(picture for picture in pictures if picture.name not in done_before)
    skipped = len(pictures) - len(todo)
    return Work(todo, skipped, order, tuple(before), frozenset(done_before), tuple(complaints), by_ranks)


def _check_videos(config: PredictConfig, pictures: Sequence[Picture], formats: Sequence[str]) -> None:
    """Check that what is asked for is there of videos.

    Raises:
        ConfigError: It is not.
    """
    video = next((picture.file.name for picture in pictures if picture.frame is not None), None)
    if video is None:
        return
    if "labelme" in formats:
        why = f"--format labelme: {video} is a video, and LabelMe opens pictures only"
        raise ConfigError(why, "use other formats, or make pictures of it: ffmpeg -i VIDEO frames/%06d.png")
    if "gpkg" in formats:
        raise ConfigError(f"--format gpkg: {video} is a video, which has no map coordinates", "use other formats")
    if config.labelled is not None:
        raise ConfigError(f"--labelled: {video} is a video, whose frames nobody has annotated", "give pictures only")
