"""What a check finds: facts about a dataset, and annotations that predictions do not agree with."""

from dataclasses import dataclass
from typing import Any, Literal

from segkit.data.records import Result

Fact = Literal[
    "unreadable", "left out", "outside", "sliver", "self-crossing", "duplicate", "same picture in two splits",
    "near-duplicate pictures in two splits", "similar names", "number in name", "missing in split",
    "too small for the model", "odd depth",
]  # fmt: skip
Suspicion = Literal["missing", "spurious", "wrong category", "loose outline", "two objects in one", "doubled"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One row of a check.

    Attributes:
        kind: What is wrong; ``confidence`` tells facts from suspicions.
        why: The same in a sentence.
        image: The name of the picture, or of the file; None: it is about the dataset.
        annotation: What the file calls the annotation: its id in COCO, the index of its (first) shape in LabelMe.
        category: Its category; of a missing one that of the prediction.
        confidence: That it is an error, 0 to 1; None: it is a fact.
        split: Of the picture.
        box: Where, xywh in pixels.
        out_of_fold: Whether the model has not learnt from this picture; None: not known, or no model.
        place: Index of the picture in what was checked, and of the instance in it.
        predicted: What was predicted in its place.
    """

    kind: Fact | Suspicion
    why: str
    image: str | None = None
    annotation: int | None = None
    category: str | None = None
    confidence: float | None = None
    split: str | None = None
    box: Box | None = None
    out_of_fold: bool | None = None
    place: tuple[int, int | None] | None = None
    predicted: tuple[Result, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what only this process needs."""
        return {
            "kind": self.kind,
            "image": self.image,
            "annotation": self.annotation,
            "category": self.category,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "why": self.why,
            "split": self.split,
            "box": None if self.box is None else [round(value, 2) for value in self.box],
            "out_of_fold": self.out_of_fold,
        }
