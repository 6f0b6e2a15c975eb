"""The dataset that a conversion writes, whatever the format: its images, splits, categories and instances."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from segkit.conversion.spool import ImageEntry, Spool
from segkit.data.files import relative_path
from segkit.data.records import IGNORE, Action, Category, Finding, Instance, Uncovered
from segkit.progress import Progress
from segkit.text import one_line

RENAMED = "renamed: another image has this name, or a file for it"
_WITH_FOLDERS = "renamed after its folder: the format has folders of such a name, or another image has this name"
_STRUCTURE = ("group_id", "crowd", "iscrowd")  # attributes that say what an instance is made of


class OutputImage(NamedTuple):
    """An image that is written: what was read of it, the name of its picture below ``images/``, its split."""

    entry: ImageEntry
    name: str
    split: str


@dataclass(frozen=True, slots=True)
class OutputDataset:
    """Everything that is written.

    Writers append to ``findings`` what their format cannot hold.

    Attributes:
        root: The folder that is written to, a temporary one.
        out: The final folder.
        images: The images, in the order of their names.
        splits: The splits that have images.
        categories: With ids from 1.
        new_labels: What each label of the source becomes; None: it is left out. ``__ignore__`` stays as it is.
        uncovered: What pixels under no annotation are.
        crowds: Whether regions to ignore become crowds of every category.
        references: Whether pictures stay where they are.
        keeps_attributes: Whether the format has a place for attributes and flags.
        spool: Has the instances.
        progress: Shows how many images are written.
        stuff: The categories that are regions without instances.
        findings: What was lost or changed.
        split_origins: The number of images in each split, by where the split comes from.
        folds: The fold of each training image by its name, where folds are wanted.
        lost: The instances that a writer left out, as keys of images and labels.
    """

    root: Path
    out: Path
    images: Sequence[OutputImage]
    splits: Sequence[str]
    categories: Sequence[Category]
    new_labels: Mapping[str, str | None]
    uncovered: Uncovered
    crowds: bool
    references: bool
    keeps_attributes: bool
    spool: Spool
    progress: Progress
    stuff: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    split_origins: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    folds: Mapping[str, int] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)

    @property
    def names_splits(self) -> bool:
        """Whether the dataset must say which split an image is in; no format takes a set of train alone for more."""
        return list(self.splits) not in ([], ["train"])

    def images_to_write(self, split: str | None = None) -> Iterator[OutputImage]:
        """The images of a split, or all of them; each that is taken counts as progress."""
        for image in self.images:
            if split in (None, image.split):
                self.progress.advance()
                yield image

    def coco_lines(self, entry: ImageEntry) -> Iterator[tuple[str, bytes]]:
        """Category and the end of a COCO annotation, for each instance that is kept."""
        for label, line in zip(entry.labels, self.spool.lines(entry), strict=True):
            name = self.new_labels[label]
            if name is not None and name != IGNORE:
                yield name, line
            elif name == IGNORE and self.crowds:
                crowd = line.replace(b'"iscrowd":0', b'"iscrowd":1', 1)  # also where it became one by --map
                for category in self.categories:
                    yield category.name, crowd

    def instances(self, entry: ImageEntry) -> Iterator[Instance]:
        """The instances that are kept, regions to ignore among them, under their new labels."""
        described = bool(entry.flags)
        for instance in self.spool.instances(entry):
            name = self.new_labels[instance.label]
            if name is not None:
                yield instance if name == instance.label else replace(instance, label=name)
                described = described or any(v for key, v in instance.attributes.items() if key not in _STRUCTURE)
        if described and not self.keeps_attributes:
            self.add_finding(entry, "changed", "the format has no place for flags and attributes")

    def add_finding(self, entry: ImageEntry, action: Action, why: str, instance: Instance | None = None) -> None:
        """Record what the format cannot hold.

        Args:
            entry: The image.
            action: What was done about it; only shapes that are left out count as lost.
            why: The reason.
            instance: The instance; None: the image as a whole.
        """
        lost = instance.num_shapes if instance is not None and action == "left out" else 0
        label = instance.label if instance is not None else None
        if label is not None and action == "left out":
            self.lost.append((entry.key, label))
        self.findings.append(Finding(entry.key, action, why, None, label, shapes=lost))

    def move_pictures(self, paths: Sequence[str]) -> None:
        """Move the temporary pictures to paths below the root; those that get another name are noted."""
        folders: set[Path] = set()
        for image, path in zip(self.images, paths, strict=True):
            new, old = path.rpartition("/")[2], image.name.rpartition("/")[2]
            if new != old:
                self.add_finding(image.entry, "noted", _WITH_FOLDERS if new.endswith(f"_{old}") else RENAMED)
            if image.entry.temporary is not None:
                target = self.root / path
                if target.parent not in folders:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    folders.add(target.parent)
                os.replace(image.entry.temporary, target)  # noqa: PTH105 -- twice as fast, and there are 100,000

    def write_lines(self, path: str, lines: Iterable[str]) -> None:
        """Write a text file below the root."""
        (self.root / path).write_text("".join(f"{one_line(line)}\n" for line in lines), encoding="utf-8")

    def reference(self, entry: ImageEntry, folder: str) -> str | None:
        """The path from a final folder to a picture that stays where it is; None if it does not."""
        if not self.references or entry.temporary is not None or entry.source is None:
            return None
        return relative_path(Path(entry.source), self.out / folder)
