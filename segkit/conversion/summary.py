"""The result of a conversion: its summary, and ``report.json``."""

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from segkit.conversion.label_checks import Advice, inspect_labels
from segkit.conversion.output import OutputDataset
from segkit.conversion.read import SourceContents
from segkit.data.records import IGNORE, Finding
from segkit.next_step import NextStep


@dataclass(frozen=True, slots=True)
class SplitCount:
    """The size of one split; ``negatives`` are images without instances."""

    images: int
    instances: int
    negatives: int


@dataclass(frozen=True, slots=True)
class ConversionSummary:
    """What was converted, and what was lost or changed.

    Every shape is accounted for: ``shapes`` = ``converted`` + ``left_out`` + ``dropped``.
    """

    out: Path
    source_format: str
    target_format: str
    files: int
    shapes: int
    converted: int
    dropped: int  # shapes that --map dropped
    splits: dict[str, SplitCount]
    split_origins: dict[str, dict[str, int]]  # images in each split, by where the split comes from
    folds: dict[int, SplitCount]  # of the training split, by number
    categories: dict[str, int]  # instances by name, in the order of their ids
    findings: tuple[Finding, ...]
    label_advice: tuple[Advice, ...]
    dry_run: bool

    @property
    def left_out(self) -> int:
        """Shapes that were not converted."""
        return sum(finding.shapes for finding in self.findings if finding.action == "left out")

    @property
    def lossless(self) -> bool:
        """Whether everything was converted exactly, and no split has images of another."""
        return not any(finding.counts for finding in self.findings)

    def next_steps(self) -> list[NextStep]:
        """What to do with the dataset; nothing where none was written, or one that ``train`` does not read."""
        if self.dry_run or self.target_format != "coco" or "train" not in self.splits:
            return []
        folder = shlex.quote(str(self.out))
        return [
            NextStep("Look for mistakes in the annotations.", f"segkit check {folder} --out check"),
            NextStep("Train a model.", f"segkit train {folder}"),
        ]

    def to_json(self) -> dict[str, Any]:
        """What ``convert --json`` prints: the totals, and a row for every finding."""
        return self.totals() | {"findings": [msgspec.to_builtins(row) for row in self.findings]}

    def totals(self) -> dict[str, Any]:
        """The summary as JSON, without the rows."""
        folds = {str(fold): msgspec.to_builtins(count) for fold, count in self.folds.items()}
        return {
            "format": self.source_format,
            "to": self.target_format,
            "files": self.files,
            "shapes": self.shapes,
            "converted": self.converted,
            "lost": self.left_out,
            "dropped": self.dropped,
            "images": sum(count.images for count in self.splits.values()),
            "instances": sum(count.instances for count in self.splits.values()),
            "splits": {name: msgspec.to_builtins(count) for name, count in self.splits.items()},
            **({"folds": folds} if folds else {}),
            "split_origins": [{"from": origin, "images": images} for origin, images in self.split_origins.items()],
            "categories": self.categories,
            **dict(sorted(Counter(f.action for f in self.findings).items())),
            "hygiene": [msgspec.to_builtins(advice) for advice in self.label_advice],
        }


def summarise(
    contents: SourceContents, output: OutputDataset, source_format: str, target_format: str, *, dry_run: bool
) -> ConversionSummary:
    """Count the shapes read, converted, left out and lost.

    Args:
        contents: What was read.
        output: What was written.
        source_format: The format read.
        target_format: The format written.
        dry_run: Whether nothing was kept.
    """
    by_split = {split: Counter[str]() for split in output.splits}
    images, negatives = Counter(image.split for image in output.images), Counter[str]()
    in_folds: dict[int, list[int]] = {fold: [0, 0, 0] for fold in sorted(set(output.folds.values()))}
    converted = dropped = 0
    for entry, name, split in output.images:
        names = [output.new_labels[label] for label in entry.labels]
        kept = [name for name in names if name is not None and name != IGNORE]
        by_split[split].update(kept)
        negatives[split] += not kept
        if (fold := output.folds.get(name)) is not None:
            for place, more in enumerate((1, len(kept), int(not kept))):
                in_folds[fold][place] += more
        shapes = sum(entry.num_shapes(index) for index in range(len(names)))
        lost = sum(entry.num_shapes(index) for index, name in enumerate(names) if name is None)
        converted, dropped = converted + shapes - lost, dropped + lost
    split_of = {image.entry.key: image.split for image in output.images}
    for key, label in output.lost:
        by_split[split_of[key]][label] -= label != IGNORE
    counts: Counter[str] = sum(by_split.values(), Counter())
    findings = (*contents.findings, *output.findings)
    lost_in_writing = sum(finding.shapes for finding in output.findings if finding.action == "left out")
    categories = {category.name: counts[category.name] for category in output.categories}
    return ConversionSummary(
        out=output.out,
        source_format=source_format,
        target_format=target_format,
        files=contents.files,
        shapes=contents.shapes,
        converted=converted - lost_in_writing,
        dropped=dropped,
        splits={split: SplitCount(images[split], by_split[split].total(), negatives[split]) for split in output.splits},
        folds={fold: SplitCount(*counts) for fold, counts in in_folds.items()},
        split_origins={
            origin: {split: counts[split] for split in output.splits if split in counts}
            for origin, counts in output.split_origins.items()
        },
        categories=categories,
        findings=tuple(sorted(findings, key=lambda f: (f.file, -1 if f.shape is None else f.shape, f.why))),
        label_advice=inspect_labels(categories, by_split),
        dry_run=dry_run,
    )


def write_report(summary: ConversionSummary, for_next: dict[str, Any], entries: list[str], path: Path) -> None:
    """Write ``report.json``: totals, and a line for every finding.

    Args:
        summary: The result.
        for_next: What the next conversion needs to keep the splits.
        entries: The files and folders of the dataset.
        path: The file to write.
    """
    top = msgspec.json.format(msgspec.json.encode(summary.totals() | {"entries": entries} | for_next), indent=1)
    with path.open("wb", buffering=1 << 20) as file:
        file.write(top.removesuffix(b"\n}") + b',\n "findings": [')
        for number, row in enumerate(summary.findings):
            file.write((b",\n  " if number else b"\n  ") + msgspec.json.encode(row))
        file.write(b"\n ]\n}\n" if summary.findings else b"]\n}\n")
