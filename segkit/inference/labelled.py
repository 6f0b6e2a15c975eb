"""The annotated pictures among those that are predicted (``--labelled``)."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from segkit.config.convert import ConvertConfig
from segkit.conversion.convert import convert
from segkit.data.records import Annotation, Dataset, Image, Result
from segkit.errors import ConfigError, InputError
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import split_file
from segkit.inference.input_files import Picture
from segkit.inference.model import LoadedModel
from segkit.inference.same_data import seen_in_training
from segkit.units import counted

LEAST_ANNOTATED = 2


@dataclass(frozen=True, slots=True)
class Labelled:
    """Annotated pictures, with the category ids of the model.

    Attributes:
        by_file: Images by the resolved path of their file.
        by_name: Images by their name, and by the last part of it where only one has that.
        truth: The annotations of each image, as results with the score 1.
        warnings: What of the annotations does not count.
    """

    by_file: Mapping[Path, Image]
    by_name: Mapping[str, Image]
    truth: Mapping[int, tuple[Result, ...]]
    warnings: tuple[str, ...] = ()

    def image_of(self, picture: Picture) -> Image | None:
        """The annotated image that a picture is: by its file, else by its name."""
        found = self.by_file.get(picture.path.resolve()) if picture.page is None else None
        return found or self.by_name.get(picture.name) or self.by_name.get(PurePosixPath(picture.name).name)

    def check(self, source: Path, pictures: Sequence[Picture]) -> None:
        """Check that some pictures are annotated, and others are not.

        Args:
            source: Where the annotations are from.
            pictures: What is predicted.

        Raises:
            InputError: Fewer than two are annotated, or all are.
        """
        found = [image.id for picture in pictures if (image := self.image_of(picture)) is not None]
        if len(set(found)) < LEAST_ANNOTATED:
            raise InputError(
                f"--labelled {source}: {len(set(found))} of its {len(self.truth)} pictures are among the "
                f"{len(pictures)} of SOURCE, and at least {LEAST_ANNOTATED} must be",
                "name all pictures as SOURCE, the annotated ones, too; they are found by file and by name",
            )
        if len(found) == len(pictures):
            raise InputError(
                f"--labelled {source}: all {len(pictures)} pictures are annotated: there is nothing to estimate",
                "name the pictures without annotations, too",
            )


def open_labelled(source: Path, model: LoadedModel) -> Labelled:
    """Read annotated pictures: a dataset folder (its validation split), or whatever ``convert`` reads.

    Raises:
        InputError: There are none, or the model was trained on them.
    """
    if not source.exists():
        raise InputError(f"--labelled {source}: no such file or folder")
    if source.is_dir() and (file := split_file(source, "val") or split_file(source, "train")) is not None:
        return _labelled(source, model, read_coco(file), file)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dataset"
        summary = convert(ConvertConfig(src=str(source), out=out, val=0.0, test=0.0, images="reference", workers=0))
        lost = sum(finding.shapes for finding in summary.findings if finding.action == "left out")
        left_out = [f"--labelled: {lost} shapes cannot be counted (segkit convert says why)"] if lost else []
        file = out / "train.json"
        found = _labelled(source, model, read_coco(file), file)
        return replace(found, warnings=(*left_out, *found.warnings))


def _labelled(source: Path, model: LoadedModel, dataset: Dataset, file: Path) -> Labelled:
    if seen := seen_in_training(model, dataset, file):
        why = seen[0].partition(":")[0]
        raise ConfigError(
            f"--labelled {source}: {why}: how wrong it is on other pictures does not show there",
            "name annotated pictures that the model was not trained on, such as those of the validation split",
        )
    own = {category.name: category.id for category in model.card.categories}
    names = {category.id: category.name for category in dataset.categories}
    annotations = dataset.annotations_of()
    crowded = {annotation.image_id for annotation in dataset.annotations if annotation.iscrowd}
    images = [image for image in dataset.images if image.id not in crowded]
    unknown = Counter(names[a.category_id] for a in dataset.annotations if names[a.category_id] not in own)
    warnings = [f"--labelled: {n} annotations of {name!r} do not count: the model has no such category"
                for name, n in unknown.items()]  # fmt: skip
    if crowded:
        left_out = counted(len(crowded), "picture with crowds is", "pictures with crowds are")
        warnings.append(f"--labelled: {left_out} left out: their instances have no count")
    return Labelled(
        {dataset.paths.of(image).resolve(): image for image in images},
        _named(images),
        {i.id: tuple(_result(a, own[names[a.category_id]]) for a in annotations.get(i.id, ())
                     if names[a.category_id] in own) for i in images},
        tuple(warnings),
    )  # fmt: skip


def _named(images: Sequence[Image]) -> dict[str, Image]:
    last = Counter(PurePosixPath(image.file_name).name for image in images)
    short = {PurePosixPath(image.file_name).name: image for image in images}
    return {name: image for name, image in short.items() if last[name] == 1} | {i.file_name: i for i in images}


def _result(annotation: Annotation, category: int) -> Result:
    return Result(0, category, 1.0, annotation.bbox, annotation.segmentation or None)
