"""The records of a dataset, whatever its format: images, annotations, categories, results.

Files speak COCO: ``bbox`` is xywh in pixels, ``category_id`` is any positive integer, a segmentation is a list
of polygons or an RLE. Sources that know no ids (LabelMe) are read as ``AnnotatedImage``, which holds label names;
``segkit.conversion.convert`` gives ids. No tensors here.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypedDict


class Rle(TypedDict):
    """COCO's compressed run lengths: ``size`` is [height, width]."""

    size: list[int]
    counts: str


Polygons: TypeAlias = list[list[float]]  # each flat [x1, y1, x2, y2, ...]
Segmentation: TypeAlias = Polygons | Rle

# Labels of regions to ignore, and of what no instance covers: LabelMe's convention in labels.txt.
IGNORE, BACKGROUND = "__ignore__", "_background_"


def replace_surrogates(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, which JSON escapes and file names may have, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def id_order(value: Any) -> tuple[bool, Any]:
    """The sort key of an image or category id: numbers before strings, as a file may have both."""
    return isinstance(value, str), value


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of instance; ids start at 1."""

    id: int
    name: str


def in_label_order(categories: Iterable[Category]) -> list[Category]:
    """The categories that the labels 1..K stand for: by id, numbers before texts, in whatever order a file has them."""
    return sorted(categories, key=lambda category: id_order(category.id))


@dataclass(frozen=True, slots=True)
class Image:
    """One picture: ``file_name`` is relative to the dataset's images folder, with forward slashes.

    ``flags`` are the image-level flags that are on.
    """

    id: int
    file_name: str
    height: int
    width: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """COCO's ground-truth record of one instance."""

    id: int
    image_id: int
    category_id: int
    segmentation: Segmentation | None
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """COCO's record of one predicted instance."""

    image_id: int
    category_id: int
    score: float
    bbox: tuple[float, float, float, float] | None = None
    segmentation: Segmentation | None = None


Uncovered = Literal["background", "ignore"]


@dataclass(frozen=True, slots=True)
class PicturePaths:
    """Where the pictures of a dataset are.

    Attributes:
        folder: The folder that ``file_name`` is relative to.
        find: Looks elsewhere for a picture that is not there, by its name.
    """

    folder: Path
    find: Callable[[str], Path | None] | None = None

    def of(self, image: Image) -> Path:
        """The file of an image; where there is none, the path at which it was expected."""
        path = self.folder / image.file_name
        if self.find is None or path.is_file():
            return path
        return self.find(image.file_name) or path


@dataclass(frozen=True, slots=True)
class Dataset:
    """The images of one split with their annotations.

    ``categories`` are in the order of their labels, whatever their order in the file. ``uncovered`` says what pixels
    under no annotation are: background, or (sources that mark some pixels as unlabelled) nothing that may be learnt or
    scored. ``warnings`` say what was repaired when the file was read. ``find_picture`` looks for the pictures that are
    not in ``images_dir``.
    """

    images: tuple[Image, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]
    images_dir: Path
    uncovered: Uncovered = "background"
    warnings: tuple[str, ...] = ()
    find_picture: Callable[[str], Path | None] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(in_label_order(self.categories)))

    @property
    def paths(self) -> PicturePaths:
        """Where its pictures are."""
        return PicturePaths(self.images_dir, self.find_picture)

    def without(self, categories: Collection[int]) -> "Dataset":
        """The same images without some categories, by their ids, and without their annotations."""
        if not categories:
            return self
        return replace(
            self,
            categories=tuple(each for each in self.categories if each.id not in categories),
            annotations=tuple(each for each in self.annotations if each.category_id not in categories),
        )

    def annotations_of(self) -> dict[int, list[Annotation]]:
        """The annotations by image id, of images that have some."""
        groups: dict[int, list[Annotation]] = defaultdict(list)
        for annotation in self.annotations:
            groups[annotation.image_id].append(annotation)
        return groups


@dataclass(frozen=True, slots=True)
class Instance:
    """One object in an image, before it has ids; a reader makes it of one or several shapes.

    Where only a box is known, ``segmentation`` is empty, and ``bbox`` and ``area`` are those of the box. ``number``
    is what its file calls it: the index of its first shape, from 0, or the id of its annotation.
    """

    label: str
    segmentation: Segmentation
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    num_shapes: int = 1
    number: int | None = field(default=None, compare=False)

    @property
    def is_box(self) -> bool:
        """Whether only a box is known, and no mask."""
        return not self.segmentation

    @classmethod
    def of_box(
        cls,
        label: str,
        bbox: tuple[float, float, float, float],
        height: int,
        width: int,
        iscrowd: int = 0,
        attributes: dict[str, Any] | None = None,
    ) -> Self:
        """An instance of which only a box is known; the box stays as it is, even where it leaves the image.

        Args:
            label: The category.
            bbox: The box, xywh in pixels.
            height: Of the image.
            width: Likewise.
            iscrowd: 1 for a crowd.
            attributes: What else is known.

        Raises:
            ValueError: The box covers nothing of the image.
        """
        x, y, w, h = bbox
        if not (w > 0 and h > 0 and x < width and y < height and x + w > 0 and y + h > 0):
            raise ValueError("a box that covers nothing of the image")
        return cls(label, [], bbox, w * h, iscrowd, attributes or {})


Exif = Literal["none", "apply", "drop"]


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture file of an image, and what must be done to its pixels before training.

    At most one of ``path`` (a picture file) and ``data`` (the bytes of one) is set; neither where only annotations
    are converted. ``exif`` says what to do with the orientation tag: there is none, apply it, or (the points are drawn
    on the stored pixels) drop it. ``resize`` is True where the file has another size than the image.
    """

    name: str
    path: Path | None = None
    data: bytes | None = None
    exif: Exif = "none"
    resize: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether the pixels can be used as stored."""
        return self.exif == "none" and not self.resize


Action = Literal["repaired", "changed", "left out", "noted"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A shape or a file that was not converted exactly: one row of ``report.json``.

    ``noted`` is worth a look, but was converted exactly. ``shapes`` is the number of shapes that the row is about.
    """

    file: str
    action: Action
    why: str
    shape: int | None = None
    label: str | None = None
    shape_type: str | None = None
    shapes: int = 1

    @property
    def counts(self) -> bool:
        """Whether ``--strict`` counts it: a leak between splits counts, too."""
        return self.action != "noted" or self.why.startswith("leak: ")


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """The annotations of one image.

    ``key`` is the annotation's path relative to the source and names it in reports; ``folder`` is where the picture
    goes below ``images/`` (None: the folder of the key). ``split`` is what the source says, in whatever word, and
    ``split_from`` where it says so; ``annotation_file`` is the file that has this image among others: its name, too,
    may name a split.
    """

    key: str
    picture: Picture
    height: int
    width: int
    instances: tuple[Instance, ...]
    split: str | None = None
    flags: tuple[str, ...] = ()
    folder: str | None = None
    split_from: str | None = None
    annotation_file: str | None = None


@dataclass(frozen=True, slots=True)
class ReadFile:
    """One unit of a source, read: its image (None: it could not be read), and findings."""

    image: AnnotatedImage | None
    findings: tuple[Finding, ...]
    num_shapes: int = 0

    @classmethod
    def left_out(cls, key: str, why: str, num_shapes: int = 0) -> Self:
        """A unit that could not be read, with all its shapes."""
        return cls(None, (Finding(key, "left out", why, shapes=num_shapes),), num_shapes)
