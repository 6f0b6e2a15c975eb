"""A model's predictions for a dataset that is checked: each image by a run that has not learnt from it, if possible."""

from dataclasses import replace
from pathlib import Path

from segkit.config.check import CheckConfig
from segkit.data.records import Dataset
from segkit.errors import InputError, SegkitError
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import split_file
from segkit.formats.folds import read_folds
from segkit.inference.folds import FoldsPredictor, Predictor, models_of_folds
from segkit.inference.model import LoadedModel, load
from segkit.inference.same_data import same_images
from segkit.inference.score import ScoreOptions, score
from segkit.progress import Progress
from segkit.review.predictions import Predictions, in_categories
from segkit.runs.folder import dataset_of_run, fold_of_run
from segkit.runtime.memory_errors import reraise_out_of_memory
from segkit.runtime.ranks import by_itself

_ACTIVITY = "predicting"


def predict_dataset(config: CheckConfig, dataset: Dataset, progress: Progress) -> Predictions:
    """Predict all images of a dataset; those that cannot be loaded have no predictions.

    Raises:
        InputError: There is no such model, or it predicts no instances.
    """
    with reraise_out_of_memory("try a smaller --batch, or --device cpu"):
        model = load(config.model, config.device, trust=config.trust)
        for note in model.notes:
            progress.note(note)
        if model.card.uncovered == "ignore":
            raise InputError(f"{model.path}: predicts pixels, not instances", "name a model of instances")
        predictor, out_of_fold, said = _predictor(model, dataset, config.batch, progress)
        unlabelled = replace(dataset, annotations=(), categories=model.card.categories)
        options = ScoreOptions(iou_types=(), pixels=False, details=True, workers=0, skip_bad=True)
        scored = score(predictor, model.card, unlabelled, by_itself(), options, progress)
    names = {category.id: category.name for category in model.card.categories}
    results, categories = in_categories(dataset, scored.results, names)
    missing = sorted({c.name for c in dataset.categories} - set(names.values()))
    if missing:
        said += (f"the model does not know {', '.join(map(repr, missing))}: such annotations look spurious or swapped",)
    stuff = frozenset(category.name for category in model.card.categories if category.id in model.card.stuff)
    if stuff:
        said += (f"{', '.join(map(repr, sorted(stuff)))}: stuff for the model, and not judged",)
    framing = None if model.card.framing.kind == "semantic" else (model.card.framing.size, model.card.framing.max_size)
    return Predictions(str(model.path), results, categories, out_of_fold, framing, said, stuff)


def _predictor(
    model: LoadedModel, dataset: Dataset, batch: int, progress: Progress
) -> tuple[Predictor, dict[int, bool], tuple[str, ...]]:
    """What predicts, by image id whether it has not learnt from it, and what is to be said."""
    alone = model.in_batches(batch, progress, _ACTIVITY)
    trained_on, fold = dataset_of_run(model.path), fold_of_run(model.path)
    learnt = None if trained_on is None else _training_split(trained_on)
    if trained_on is None or learnt is None:
        return alone, {}, ()
    same = same_images(dataset, learnt)
    if fold is None:
        return alone, {image.id: image.id not in same for image in dataset.images}, ()
    folds = read_folds(trained_on)[1]
    held_out = {image.id: folds.get(same[image.id], fold) if image.id in same else fold for image in dataset.images}
    try:
        models = models_of_folds(model, trained_on, model.device or "cpu")
    except InputError as error:
        said = (f"only the run of fold {fold} predicts: {error.message}",)
        return alone, {image: number == fold for image, number in held_out.items()}, said
    by_name = {image.file_name: held_out[image.id] for image in dataset.images}
    return FoldsPredictor(models, by_name, batch, progress), dict.fromkeys(held_out, True), ()


def _training_split(trained_on: Path) -> Dataset | None:
    """What a run was trained on; None where it is gone, or was changed since."""
    file = split_file(trained_on, "train")
    try:
        return None if file is None else read_coco(file)
    except SegkitError:
        return None
