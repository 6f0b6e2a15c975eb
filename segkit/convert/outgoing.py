"""What a conversion writes, whatever the format: which pictures, in which splits, with which instances."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from segkit.convert.images import name_pictures
from segkit.convert.spool import Entry, Spool
from segkit.data.files import relative_path
from segkit.data.records import Category, Finding, Instance, Uncovered
from segkit.formats.labelme.instances import IGNORE
from segkit.progress import Progress

_FOR_SHAPES = ("group_id", "crowd", "iscrowd")  # attributes that say what an instance is made of


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Everything that is to be written, in the order of the names of pictures.

    Writers append to ``findings`` what their format cannot hold.
    """

    root: Path  # the folder that is written to, beside the final one
    out: Path  # the final one
    entries: Sequence[Entry]
    names: Sequence[str]  # of pictures, below the folder for pictures
    split_of: Sequence[str]
    splits: Sequence[str]
    categories: Sequence[Category]
    renamed: Mapping[str, str | None]  # None: dropped; __ignore__ stays as it is
    uncovered: Uncovered
    crowds: bool  # whether regions to ignore are crowds of every category
    references: bool  # whether pictures stay where they are
    keeps_words: bool  # whether the format has a place for attributes and flags
    spool: Spool
    progress: Progress
    findings: list[Finding] = field(default_factory=list)

    def of_split(self, split: str) -> Iterator[tuple[Entry, str]]:
        """The entries of one split, with their names."""
        return (
            (entry, name)
            for entry, name, own in zip(self.entries, self.names, self.split_of, strict=True)
            if own == split
        )

    def lines(self, entry: Entry) -> Iterator[tuple[str, bytes]]:
        """Category and the end of a COCO annotation, for each instance that is kept."""
        for label, line in zip(entry.labels, self.spool.lines(entry), strict=True):
            name = self.renamed.get(label, label)
            if name is not None and name != IGNORE:
                yield name, line
            elif name == IGNORE and self.crowds:
                for category in self.categories:
                    yield category.name, line

    def instances(self, entry: Entry) -> Iterator[Instance]:
        """The instances that are kept, regions to ignore among them, under their new labels."""
        words = bool(entry.flags)
        for instance in self.spool.instances(entry):
            name = self.renamed.get(instance.label, instance.label)
            if name is not None:
                yield instance if name == instance.label else replace(instance, label=name)
                words = words or any(value for key, value in instance.attributes.items() if key not in _FOR_SHAPES)
        if words and not self.keeps_words:
            self.finding(entry, "changed", "flags and attributes have no place in this format")

    def finding(self, entry: Entry, action: str, why: str, instance: Instance | None = None) -> None:
        """Note what a format cannot hold. Shapes count as lost only where they are left out."""
        lost = instance.num_shapes if instance is not None and action == "left out" else 0
        label = instance.label if instance is not None else None
        self.findings.append(Finding(entry.key, action, why, None, label, shapes=lost))  # type: ignore[arg-type]

    def place_pictures(self, where: Sequence[str]) -> None:
        """Move the pictures to paths below the root."""
        name_pictures(self.entries, where, self.root)

    def reference(self, entry: Entry, folder: str) -> str | None:
        """The path from a final folder to a picture that stays where it is; None if it does not."""
        if not self.references or entry.placed is not None or entry.source is None:
            return None
        return relative_path(Path(entry.source), self.out / folder)


def flat_names(names: Sequence[str]) -> list[str]:
    """Names without folders, each still different from the others."""
    taken: set[str] = set()
    out = []
    for name in names:
        path = PurePosixPath(name)
        flat = path.name if path.name.casefold() not in taken else name.replace("/", "_")
        stem, suffix, number = PurePosixPath(flat).stem, path.suffix, 1
        while flat.casefold() in taken:
            number += 1
            flat = f"{stem}_{number}{suffix}"
        taken.add(flat.casefold())
        out.append(flat)
    return out
