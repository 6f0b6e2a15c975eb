"""What was read of a dataset, and predictions of it -> what is wrong, as records."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from segkit.config.check import CheckConfig
from segkit.config.fields import words_of
from segkit.conversion.contents import Contents
from segkit.review.findings import CheckFinding
from segkit.review.geometry import outline_findings
from segkit.review.judged import judge
from segkit.review.predictions import Predictions
from segkit.review.suspects import Suspect, find_suspects, share_found
from segkit.review.whole import (
    at_the_border,
    depth_findings,
    file_findings,
    label_findings,
    own_size,
    repeated_pictures,
    size_findings,
)
from segkit.units import counted

_LONGEST = 5 / 3  # of --size: the default of train
_DECIDE = {"source_format", "images_dir", "size", "max_size", "model", "predictions", "split", "confidence"}
_WEAK = 0.3  # share of annotations that are found, below which predictions say little


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found.

    Attributes:
        src: What was checked.
        contents: What is in it.
        findings: Facts, then likely errors, the most certain first.
        sizes: By category, in pixels at the model's scale.
        scale: Shorter and longest side of images there.
        predictions: Where they are from, and how honest they are; None: there were none.
        notes: What is worth knowing, and is no error.
        options: What was given besides SRC that decides what is found, as words of a command.
    """

    src: str
    contents: Contents
    findings: tuple[CheckFinding, ...]
    sizes: dict[str, dict[str, float]]
    scale: tuple[int, int]
    predictions: Predictions | None
    notes: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Findings by kind, in their order."""
        return dict(Counter(finding.kind for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        contents, predictions = self.contents, self.predictions
        splits = Counter(image.split for image in contents.images if image.split is not None)
        return {
            "src": self.src,
            "format": contents.format,
            "images": len(contents.images),
            "instances": contents.counts.total(),
            "splits": dict(splits),
            "categories": {label: contents.counts[label] for label in contents.labels},
            "sizes": {"size": self.scale[0], "max_size": self.scale[1], "per_category": self.sizes},
            "predictions": predictions
            and {"from": predictions.source, "out_of_fold": predictions.honesty(len(contents.images))},
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def report_of(config: CheckConfig, contents: Contents, predictions: Predictions | None) -> CheckReport:
    """Look for what is wrong.

    Args:
        config: The options.
        contents: What was read.
        predictions: What a model or other results say of it; None: facts alone are found.
    """
    labels, notes = label_findings(contents)
    framing = predictions.framing if predictions is not None else None
    size, max_size = framing or (own_size(contents), 0)
    size, max_size = config.size or size, config.max_size or (max_size if config.size is None else 0)
    scale = (size, max_size or round(size * _LONGEST))
    small, sizes = size_findings(contents, *scale)
    findings = [
        *file_findings(contents),
        *outline_findings(contents),
        *repeated_pictures(contents),
        *depth_findings(contents),
        *labels,
        *small,
    ]
    notes = [*_notes(contents), *notes]
    if predictions is not None:
        found, said = _suspects(contents, predictions, config.confidence)
        known = {(f.image, f.annotation) for f in findings if f.kind == "duplicate"}
        findings += [f for f in found if f.kind != "doubled" or (f.image, f.annotation) not in known]
        notes += said
    options = tuple(words_of(config, config.given_options() & _DECIDE))
    return CheckReport(config.src, contents, tuple(findings), sizes, scale, predictions, tuple(notes), options)


def _notes(contents: Contents) -> list[str]:
    cut, total = at_the_border(contents)
    notes = []
    if cut:
        notes.append(f"the border of the picture cuts {cut} of {counted(total, 'instance', 'instances')}")
    if not total:
        notes.append("no instance is annotated")
    empty = sum(not image.instances for image in contents.images)
    if empty:
        notes.append(f"{counted(empty, 'image has', 'images have')} no instance")
    if not contents.splits:
        notes.append("the source has no splits: convert makes them")
    other = Counter(row.action for row in contents.findings if row.action in ("repaired", "changed"))
    notes += [f"convert has {counted(number, 'remark', 'remarks')} of what would be {action}: convert --dry-run"
              for action, number in sorted(other.items())]  # fmt: skip
    notes += [row.why for row in contents.findings if "without an annotation file" in row.why]
    return notes


def _suspects(contents: Contents, predictions: Predictions, least: float) -> tuple[list[CheckFinding], list[str]]:
    unjudged = {each.id for each in predictions.categories if each.name in predictions.unjudged}
    dataset = replace(contents.dataset, categories=predictions.categories).without(unjudged)
    judged, kind = judge(dataset, predictions.results)
    names = {category.id: category.name for category in predictions.categories}
    suspects = [each for each in find_suspects(judged, names.__getitem__) if each.confidence >= max(least, 1e-6)]
    notes = [
        f"predictions of {predictions.source}: {predictions.honesty(len(contents.images))}",
        *predictions.notes,
    ]
    share = share_found(judged)
    if share < _WEAK and dataset.annotations:
        notes.append(
            f"the predictions find {share:.0%} of the annotations (score 0.5, IoU 0.5): too few to judge them by"
        )
    if kind == "bbox":
        notes.append("boxes are compared: not all annotations and predictions have masks")
    return [_finding(contents, predictions, names, each) for each in suspects], notes


def _finding(contents: Contents, predictions: Predictions, names: dict[int, str], suspect: Suspect) -> CheckFinding:
    n, index, number, box = suspect.image_id - 1, None, None, None
    image = contents.images[n]
    if suspect.annotation is not None:
        _, index = contents.place_of(suspect.annotation)
        instance = image.instances[index]
        number, box = (index if instance.number is None else instance.number), instance.bbox
    return CheckFinding(
        suspect.kind,
        suspect.why,
        image.name,
        number,
        names[suspect.category],
        suspect.confidence,
        image.split,
        box or suspect.predicted[0].bbox,
        predictions.out_of_fold.get(suspect.image_id),
        (n, index),
        suspect.predicted,
    )
