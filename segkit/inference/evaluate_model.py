"""``eval`` of a model: predict a split, and score the predictions."""

import os
from dataclasses import replace
from pathlib import Path

from segkit.choices import ARCHITECTURES
from segkit.config.evaluate import EvalConfig
from segkit.data.files import check_links
from segkit.data.panoptic_merge import LEAST_SCORE
from segkit.data.records import Dataset
from segkit.errors import ConfigError, InputError
from segkit.evaluation.evaluation import Evaluation
from segkit.evaluation.results_file import is_results
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import find_split, split_file, with_pictures_in
from segkit.formats.folds import open_fold, read_folds
from segkit.formats.pictures.framed import odd_pictures
from segkit.formats.splits import split_of_name
from segkit.inference.folds import ACTIVITY, FoldsPredictor, Predictor, models_of_folds
from segkit.inference.model import LoadedModel, load
from segkit.inference.same_data import check_same_categories, in_categories_of, seen_in_training
from segkit.inference.score import ScoreOptions, default_iou_types, score
from segkit.inference.thresholds import PROMISE
from segkit.progress import SILENT, Progress
from segkit.runs.find import folder_of_scores
from segkit.runs.folder import dataset_of_run, fold_of_run
from segkit.runtime.memory_errors import reraise_out_of_memory
from segkit.runtime.ranks import by_itself


def evaluate_model(config: EvalConfig, progress: Progress = SILENT) -> Evaluation:
    """Score a model on a split.

    Raises:
        InputError: There is no such model or data, the data has other categories, or a link leads out of the run.
    """
    model = load(config.subject, config.device, trust=config.trust, vram=config.vram)
    for note in model.notes:
        progress.note(note)
    file, whole, name = _data(model, config)
    dataset = in_categories_of(model, whole, by_name=not config.lvis)
    dataset = with_pictures_in(config.images_dir, dataset)
    folder = config.out or (_folder(model, file) if name is None else folder_of_scores(model.path) / name)
    if config.out is None:
        check_links(folder / "metrics.json", model.path.parent)
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: no permission to write there", "name another folder for metrics.json: --out")
    seen = seen_in_training(model, dataset, file) if name is None else []  # no run has seen its own fold
    if config.promise is not None and seen:
        raise ConfigError(f"--promise: {seen[0]}", "name images that it has not seen: --data, --split")
    promises = folder_of_scores(model.path) / PROMISE
    if config.promise is not None:
        check_links(promises, model.path.parent)
    predictor = _predictor(model, config, progress)
    options = _score_options(model, config, file)
    with reraise_out_of_memory("try a smaller --batch, or --device cpu"):
        scored = score(predictor, model.card, dataset, by_itself(), options, progress)
    warnings = [*dataset.warnings, *odd_pictures(dataset), *seen]
    metrics = replace(scored.metrics, warnings=[*warnings, *scored.metrics.warnings])
    return Evaluation(
        metrics,
        folder,
        str(model.path),
        file,
        dataset.without(model.card.stuff),  # the details are of instances, and pixels have their own
        tuple(scored.results),
        scored.pixels,
        len(dataset.annotations),
        {"architecture": model.card.model, "step": model.step},
        promises=promises,
    )


def _data(model: LoadedModel, config: EvalConfig) -> tuple[Path, Dataset, str | None]:
    """The annotation file, what of it is scored, and for folds the folder of the scores in that of the run's.

    Raises:
        InputError: There is none, or the run was not trained on folds.
    """
    fold, trained_on = fold_of_run(model.path), dataset_of_run(model.path)
    if config.folds and (fold is None or trained_on is None):
        raise InputError(f"{model.path}: was not trained with --fold", "name a run of a fold, or leave --folds out")
    if trained_on is None or fold is None or config.data is not None or config.split != "val":
        file = _annotation_file(model, config)
        return file, read_coco(file), None
    file = find_split(trained_on, "train")
    return (file, read_coco(file), "eval-folds") if config.folds else (file, open_fold(trained_on, fold)[1], ".")


def _predictor(model: LoadedModel, config: EvalConfig, progress: Progress) -> Predictor:
    """What predicts the images: the model, or for each image the run of its fold."""
    trained_on = dataset_of_run(model.path)
    if not config.folds or trained_on is None:
        return model.in_batches(config.batch, progress, ACTIVITY)
    models = models_of_folds(model, trained_on, model.device or config.device)
    return FoldsPredictor(models, read_folds(trained_on)[1], config.batch, progress)


def check_compared(config: EvalConfig) -> None:
    """Check, before the first one is evaluated, that there is another model to compare it with.

    Raises:
        InputError: There is none, or it has other categories.
    """
    second = load(config.compare, "cpu", trust=config.trust)
    if not is_results(config.subject):
        check_same_categories(load(config.subject, "cpu", trust=config.trust), second)


def _score_options(model: LoadedModel, config: EvalConfig, file: Path) -> ScoreOptions:
    """What is scored.

    Raises:
        ConfigError: The model does not predict it.
    """
    iou_types = config.iou
    if config.task == "semantic":
        iou_types = config.iou or ()
        if model.card.framing.kind != "semantic" and not model.card.stuff:
            raise ConfigError(f"--task semantic: {model.path} predicts instances, not a label for every pixel")
    elif config.task == "instance":
        iou_types = config.iou or default_iou_types(model.card) or ("segm",)
    if iou_types and {"segm", "boundary"} & set(iou_types) and not ARCHITECTURES[model.card.model].masks:
        raise ConfigError(f"--iou {','.join(iou_types)}: {model.path} predicts boxes only", "use --iou bbox")
    return ScoreOptions(
        iou_types=iou_types,
        pixels=False if config.task == "instance" else None,
        max_dets=config.max_dets,
        engine=config.engine,
        details=config.needs_results,
        intervals=config.needs_details and config.bootstrap > 0,
        lvis=file if config.lvis else None,
        workers=config.workers or 0,
        areas=config.areas,
        least_score=config.score if config.needs_details else LEAST_SCORE,
    )


def _annotation_file(model: LoadedModel, config: EvalConfig) -> Path:
    """The annotation file of the dataset that was named, else of the run's, else of ``./dataset``."""
    if config.data is not None:
        return find_split(config.data, config.split)
    trained_on = dataset_of_run(model.path) or Path("dataset")
    if trained_on.is_file():
        return split_file(trained_on, config.split) or find_split(trained_on.parent, config.split)
    return find_split(trained_on, config.split)


def _folder(model: LoadedModel, file: Path) -> Path:
    """The folder of the scores of a model on its own validation split; one that is named after other data beside it."""
    trained_on, folder = dataset_of_run(model.path), folder_of_scores(model.path)
    if trained_on is None:  # what its validation split is, is not known
        named = split_of_name(file.stem)
        return folder if named is None or named.split == "val" else _beside(model, folder, file.stem)
    own = trained_on.parent if trained_on.is_file() else trained_on
    val = split_file(trained_on, "val")
    if val is not None and file.resolve() == val.resolve():
        return folder
    if file.resolve().parent == own.resolve():
        return _beside(model, folder, file.stem)
    return _beside(model, folder, f"{file.resolve().parent.name}-{file.stem}")


def _beside(model: LoadedModel, folder: Path, data: str) -> Path:
    """The folder for the scores of a model on other data: in that of the run, or beside that of the model file."""
    is_run = folder == model.path.parent
    return folder / f"eval-{data}" if is_run else folder.with_name(f"{folder.name}-{data}")
