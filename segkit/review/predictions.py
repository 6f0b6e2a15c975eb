"""Predictions for a dataset that is checked: with its own ids, and whether their model has learnt from the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.config.check import CheckConfig
from segkit.data.records import Category, Dataset, Result
from segkit.errors import InputError, SegkitError
from segkit.evaluation.predicted_images import match_images, with_ids_for_names
from segkit.formats.coco.file import read_coco, read_results
from segkit.formats.dataset_folder import find_split
from segkit.units import counted


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was predicted.

    Attributes:
        source: The file of the model or of the results.
        results: With the ids of the dataset that is checked.
        categories: Of the dataset, and those that only the predictions have.
        out_of_fold: By image id, whether the model has not learnt from it; images that are not in it: not known.
        framing: Shorter and longest side of images as the model gets them; None: not known.
        notes: What is to be said of them.
        unjudged: Names of categories that are stuff for the model: it finds no instances of them.
    """

    source: str
    results: tuple[Result, ...]
    categories: tuple[Category, ...]
    out_of_fold: Mapping[int, bool]
    framing: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    unjudged: frozenset[str] = frozenset()

    def honesty(self, images: int) -> str:
        """In words, how many of so many images were predicted by a model that has not learnt from them."""
        new = sum(self.out_of_fold.values())
        seen, unknown = len(self.out_of_fold) - new, images - len(self.out_of_fold)
        if not seen and not unknown:
            return "out of fold: the model has learnt from none of these images"
        if unknown == images:
            return "it is not known which images their model has learnt from: errors that it has learnt are not shown"
        parts = [f"out of fold for {new} of {counted(images, 'image', 'images')}"]
        if seen:
            parts.append(
                f"trained on {seen} of them, whose errors it may repeat: less is found there (convert --folds, "
                "train --fold, check --model RUN predict each by a model that has not seen it)"
            )
        return "; ".join([*parts, *([f"not known for {unknown}"] if unknown else [])])


def in_categories(
    dataset: Dataset, results: Sequence[Result], names: Mapping[int, str]
) -> tuple[tuple[Result, ...], tuple[Category, ...]]:
    """Results with the category ids that a dataset has for the same names, and all categories.

    Args:
        dataset: What is checked.
        results: With ids of their own.
        names: What these mean.
    """
    ids = {category.name: category.id for category in dataset.categories}
    for name in names.values():
        ids.setdefault(name, max(ids.values(), default=0) + 1)
    changed = tuple(replace(r, category_id=ids[names[r.category_id]]) for r in results)
    return changed, tuple(Category(number, name) for name, number in ids.items())


def read_predictions(config: CheckConfig, dataset: Dataset) -> Predictions:
    """The predictions of a results file.

    ``segkit predict`` writes ``images.json`` beside it, by which images are found; of other tools' files the ids are
    those of the COCO file that is checked, or that the dataset has for ``--split``.

    Raises:
        InputError: It is no results file, or of other images or categories.
    """
    path = config.predictions
    assert path is not None
    notes: list[str] = []
    results, beside = read_results(path, notes), path.with_name("images.json")
    if path.name == "results.json" and beside.is_file():
        predicted = read_coco(beside)
        results, _ = match_images(results, predicted, dataset, path)
        names = {category.id: category.name for category in predicted.categories}
    else:
        truth = _annotated(config, path)
        results = with_ids_for_names(results, truth, notes)
        by_name, wanted = {image.file_name: image.id for image in dataset.images}, len(results)
        known = {image.id: by_name.get(image.file_name) for image in truth.images}
        results = [replace(r, image_id=n) for r in results if (n := known.get(r.image_id)) is not None]
        names = {category.id: category.name for category in truth.categories}
        if wanted and not results:
            hint = "are these results of other images?" if Path(config.src).is_file() else "name another --split"
            raise InputError(f"{path}: none of its image ids is one of {config.src}", hint)
    if unknown := {r.category_id for r in results} - names.keys():
        raise InputError(f"{path}: category {min(unknown, key=str)} is not in the data")
    if not results:
        notes.append(f"{path}: has no result")
    kept, categories = in_categories(dataset, results, names)
    return Predictions(str(path), kept, categories, {}, notes=tuple(notes))


def _annotated(config: CheckConfig, path: Path) -> Dataset:
    """The COCO file whose ids results have.

    Raises:
        InputError: SRC has none.
    """
    try:
        return read_coco(find_split(Path(config.src), config.split))
    except SegkitError as error:
        raise InputError(
            f"{path}: which images its ids mean is not known: {error.message}",
            "name a COCO file as SRC, or its dataset and --split; or predict with segkit predict, or --model",
        ) from error
