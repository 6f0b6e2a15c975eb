"""The images of ``segkit predict``'s results, found again in a dataset."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from segkit.data.records import Dataset, Image, Result
from segkit.errors import InputError

JOURNAL = "pictures.jsonl"  # beside results.json: a line for each picture


class _Line(msgspec.Struct):
    file: str
    path: str


def match_images(
    results: list[Result], predicted: Dataset, dataset: Dataset, subject: Path
) -> tuple[list[Result], frozenset[int]]:
    """Results with the dataset's image ids in place of those of their ``images.json``.

    An image is the dataset's if its file is, also by way of links; else if it has the same name.

    Args:
        results: What was predicted.
        predicted: The images of ``images.json``.
        dataset: The ground truth.
        subject: The results file.

    Returns:
        The results of images that the dataset has, and the ids of those images.

    Raises:
        InputError: It has none of them.
    """
    ids = {image.file_name: image.id for image in dataset.images}
    files = {name: path.resolve() for name, path in _predicted_files(subject.with_name(JOURNAL))}
    by_file = {_file(dataset, image): image.id for image in dataset.images} if files else {}
    known = {
        image.id: by_file.get(files.get(image.file_name, Path()), ids.get(image.file_name))
        for image in predicted.images
    }
    if unlisted := {r.image_id for r in results} - known.keys():
        raise InputError(f"{subject}: image {min(unlisted, key=str)} is not in the images.json of the results")
    unknown = [image.file_name for image in predicted.images if known[image.id] is None]
    if len(unknown) == len(known):
        raise InputError(
            f"{subject}: none of its images is in the split; the first is {unknown[0] if unknown else 'missing'}",
            "predict the folder that the dataset's file names are relative to: segkit predict dataset/images",
        )
    kept = [replace(r, image_id=found) for r in results if (found := known[r.image_id]) is not None]
    return kept, frozenset(found for found in known.values() if found is not None)


def with_ids_for_names(results: list[Result], dataset: Dataset, warnings: list[str]) -> list[Result]:
    """Results with the dataset's ids in place of names, which some tools write: of image files, and of categories.

    Args:
        results: What was predicted.
        dataset: The ground truth.
        warnings: Takes a line where names were replaced.
    """
    images = [(name, i.id) for i in dataset.images for name in _names_of(i.file_name)]
    results = _by_name(results, "image_id", {i.id for i in dataset.images}, images, warnings)
    categories = [(category.name, category.id) for category in dataset.categories]
    return _by_name(results, "category_id", {c.id for c in dataset.categories}, categories, warnings)


def _names_of(file_name: str) -> set[str]:
    """The names by which a tool may call an image: its path, its file, both without the ending."""
    path = PurePosixPath(file_name)
    return {file_name, path.name, path.stem, str(path.with_suffix(""))}


def _by_name(
    results: list[Result], key: str, ids: set[Any], named: list[tuple[str, Any]], warnings: list[str]
) -> list[Result]:
    """Results with ids for names, where none has an id of the data and all have the name of one thing."""
    found = {getattr(result, key) for result in results}
    count, of_name = Counter(name for name, _ in named), dict(named)
    if not found or found & ids or any(not isinstance(each, str) or count[each] != 1 for each in found):
        return results
    warnings.append(f"the {key}s of the results are names, and were matched to the data by name")
    return [replace(result, **{key: of_name[getattr(result, key)]}) for result in results]


def _file(dataset: Dataset, image: Image) -> Path:
    return dataset.paths.of(image).resolve()


def _predicted_files(journal: Path) -> Iterator[tuple[str, Path]]:
    """The name and the file of every predicted picture; nothing where there is no journal."""
    if not journal.is_file():
        return
    with journal.open("rb") as file:
        for line in file:
            try:
                known = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError:
                continue
            yield known.file, Path(known.path)
