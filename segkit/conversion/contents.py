"""Annotations of any format in memory: by the readers of ``convert``, with nothing written."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from segkit.config.convert import ConvertConfig, SourceFormat
from segkit.conversion.listed_splits import with_listed_splits
from segkit.conversion.names import image_names
from segkit.conversion.plan import folder_of
from segkit.conversion.read import ReadOptions, read_source
from segkit.conversion.refusals import nothing_found
from segkit.conversion.source import open_source
from segkit.conversion.source_splits import source_splits
from segkit.conversion.spool import ImageEntry, Spool
from segkit.conversion.unannotated import folders_not_read, pictures_without_annotations
from segkit.data.files import unreadable_folders
from segkit.data.locks import temporary_directory
from segkit.data.records import IGNORE, Annotation, Category, Dataset, Finding, Image, Instance
from segkit.errors import InputError
from segkit.formats.encoding import TextEncoding, text_encoding
from segkit.progress import Progress


@dataclass(frozen=True)
class AnnotatedImage:
    """A picture with its instances.

    Attributes:
        entry: What was read of it.
        name: As a dataset made of it calls it.
        split: Train, val or test; None: the source has no splits.
        instances: Without regions to ignore.
    """

    entry: ImageEntry
    name: str
    split: str | None
    instances: tuple[Instance, ...]

    @property
    def picture(self) -> Path | None:
        """A file of its pixels in the frame of the instances; None: there is none."""
        path = self.entry.temporary or self.entry.source or self.entry.file
        return None if path is None else Path(path)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.entry.height, self.entry.width


@dataclass(frozen=True)
class Contents:
    """What was read of a source.

    Attributes:
        format: Its format.
        images: The pictures that could be read, by their key.
        labels: The categories, in the order of the source.
        findings: What its reader reports.
        uncovered: What pixels under no instance are.
    """

    format: str
    images: tuple[AnnotatedImage, ...]
    labels: tuple[str, ...]
    findings: tuple[Finding, ...]

    @cached_property
    def counts(self) -> Counter[str]:
        """Instances by label."""
        return Counter(instance.label for image in self.images for instance in image.instances)

    @cached_property
    def splits(self) -> dict[str, Counter[str]]:
        """The same in each split; nothing where the source has none."""
        found: dict[str, Counter[str]] = {}
        for image in self.images:
            if image.split is not None:
                found.setdefault(image.split, Counter()).update(each.label for each in image.instances)
        return found

    @cached_property
    def dataset(self) -> Dataset:
        """The same as records: image ids are places in ``images`` from 1, annotations are numbered from 1."""
        ids = {label: number for number, label in enumerate(self.labels, 1)}
        images = tuple(Image(n, image.name, *image.size) for n, image in enumerate(self.images, 1))
        annotations: list[Annotation] = []
        for n, image in enumerate(self.images, 1):
            for each in image.instances:
                number, category = len(annotations) + 1, ids[each.label]
                kept = (each.segmentation or None, each.bbox, each.area, each.iscrowd)
                annotations.append(Annotation(number, n, category, *kept))
        files = {image.name: image.picture for image in self.images}
        categories = tuple(Category(number, label) for label, number in ids.items())
        nowhere = Path("/nonexistent")  # every picture is found by its name
        return Dataset(images, tuple(annotations), categories, nowhere, find_picture=files.get)

    def place_of(self, annotation: int) -> tuple[int, int]:
        """The picture, and the instance in it, of an annotation of ``dataset``."""
        image, index = self._places[annotation - 1]
        return image, index

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        return [(n, index) for n, image in enumerate(self.images) for index in range(len(image.instances))]


@contextmanager
def read_annotations(
    src: str, source_format: SourceFormat, images_dir: Path | None, workers: int | None, progress: Progress
) -> Iterator[Contents]:
    """Read annotations of any format.

    Args:
        src: A folder or a file.
        source_format: Its format.
        images_dir: Where else pictures are.
        workers: Processes that read files.
        progress: Shows how many files are read.

    Raises:
        InputError: There is nothing to read.
    """
    with temporary_directory("segkit-check-") as folder, closing(Spool(folder / "instances")) as spool:
        options = ConvertConfig(
            src=src, source_format=source_format, images_dir=images_dir, images="reference", out=folder / "none"
        )
        texts = TextEncoding(None, str(folder_of(Path(src))))
        with text_encoding(texts), unreadable_folders() as unreadable:
            source = open_source(options, ())
            read = read_source(
                source, ReadOptions("reference", folder / "pictures", thumbnails=True, texts=texts), spool, workers,
                progress,
            )  # fmt: skip
        if not read.entries:
            raise _nothing(src, read.findings)
        entries, listed = with_listed_splits(read.entries, folder_of(Path(src)))
        labels = dict.fromkeys((*source.labels, *sorted({label for entry in entries for label in entry.labels})))
        splits = source_splits(entries, labels)
        lone = pictures_without_annotations(source.format, Path(src), folder / "none", entries, read.findings)
        lone += folders_not_read(unreadable, folder_of(Path(src)))
        images = tuple(
            AnnotatedImage(
                entry, name, None if split is None else split.split,
                tuple(each for each in spool.instances(entry) if each.label != IGNORE),
            )
            for entry, name, split in zip(entries, image_names(entries), splits, strict=True)
        )  # fmt: skip
        yield Contents(
            source.format,
            images,
            tuple(label for label in labels if label != IGNORE),
            (*read.findings, *listed, *lone),
        )


def _nothing(src: str, findings: tuple[Finding, ...]) -> InputError:
    first = next((row for row in findings if row.action == "left out"), None)
    if first is None:
        return nothing_found(src)
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return InputError(f"{src}: nothing could be read: {first.file}: {first.why}{more}")
