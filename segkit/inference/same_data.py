"""Whether data is what a model was made for: its categories, and images that it was not trained on."""

import filecmp
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from segkit.data.records import Category, Dataset
from segkit.errors import InputError, SegkitError
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import split_file
from segkit.inference.model import LoadedModel
from segkit.runs.folder import dataset_of_run


def in_categories_of(model: LoadedModel, dataset: Dataset, *, by_name: bool = True) -> Dataset:
    """The dataset with the model's category ids; other ids of the same names are replaced, with a warning.

    Args:
        model: A model.
        dataset: The data that it is scored on.
        by_name: Whether ids may be replaced.

    Raises:
        InputError: The data has other categories.
    """
    own, others = model.card.categories, dataset.categories
    if {(c.id, c.name) for c in own} == {(c.id, c.name) for c in others}:
        return dataset
    named = {category.name: category.id for category in own}
    names = Counter(category.name for category in others)
    if not by_name or names != Counter(category.name for category in own) or max(names.values()) > 1:
        raise _other_categories(model.path, own, others)
    new = {category.id: named[category.name] for category in others}
    said = "the categories of the data have other ids than those of the model: taken by name"
    return replace(
        dataset,
        categories=own,
        annotations=tuple(replace(a, category_id=new[a.category_id]) for a in dataset.annotations),
        warnings=(*dataset.warnings, said),
    )


def _other_categories(model: Path, own: tuple[Category, ...], others: tuple[Category, ...]) -> InputError:
    mine, its = ({category.name for category in categories} for categories in (own, others))
    parts = [
        f"{'only the ' + owner} has {', '.join(map(repr, sorted(names)[:4]))}{', ...' if len(names) > 4 else ''}"
        for owner, names in (("model", mine - its), ("data", its - mine))
        if names
    ]
    text = "; ".join(parts) or "the same names have other ids, or come twice"
    return InputError(
        f"{model}: its categories are not those of the data: {text}",
        "convert the data with --labels of the run's labels.txt; models are compared if they have the same categories",
    )


def check_same_categories(first: LoadedModel, second: LoadedModel) -> None:
    """Check that two models can be scored on the same data.

    Raises:
        InputError: Their categories have other names.
    """
    own, others = ({category.name for category in model.card.categories} for model in (first, second))
    if own != others:
        some = ", ".join(map(repr, sorted(own ^ others)[:4]))
        raise InputError(
            f"{second.path}: its categories are not those of {first.path}: only one of them has {some}",
            "models are compared if they have the same categories",
        )


def seen_in_training(model: LoadedModel, dataset: Dataset, file: Path) -> list[str]:
    """A warning where a model was trained on some of the images that it is scored on.

    Images are the same where their files are, or have the same name and content. The run's own other splits are taken
    to have none of them.

    Args:
        model: A model.
        dataset: What it is scored on.
        file: The annotation file.
    """
    trained_on = dataset_of_run(model.path)
    train = None if trained_on is None else split_file(trained_on, "train")
    if train is None or not dataset.images:
        return []
    if train.resolve() == file.resolve():
        return ["the model was trained on these very images: expect less on others"]
    if train.resolve().parent == file.resolve().parent:
        return []
    try:
        own = read_coco(train)
    except SegkitError:  # it is gone, or was changed since
        return []
    seen = len(same_images(dataset, own))
    if not seen:
        return []
    return [f"the model was trained on {seen} of these {len(dataset.images)} images: expect less on others"]


def same_images(dataset: Dataset, other: Dataset) -> dict[int, str]:
    """The images of a dataset that another one has, too: their ids, with the names that they have there.

    Images are the same where their files are, or have the same name and content.
    """
    files = defaultdict(list)
    for image in other.images:
        files[Path(image.file_name).name].append(image)
    found = {}
    for image in dataset.images:
        path = dataset.paths.of(image)
        for candidate in files[Path(image.file_name).name]:
            if _are_same(path, other.paths.of(candidate)):
                found[image.id] = candidate.file_name
                break
    return found


def _are_same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or filecmp.cmp(one, other, shallow=False)
    except OSError:  # one of them is not there
        return False
