"""Which pictures to annotate next: what was chosen, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.review.next_folder import NextPicture, names_in

if TYPE_CHECKING:
    from segkit.review.value import Valued


@dataclass(frozen=True, slots=True)
class NextPlan:
    """Which pictures to annotate next.

    Attributes:
        model: The file of the model.
        folder: Where they will be put together.
        chosen: The pictures, the most valuable one first, with what each was worth when it was chosen.
        pictures: The same as they are written, with results of ``--score`` or more.
        categories: Names by id.
        annotated: Pictures that have a LabelMe file already.
        candidates: Pictures that have none.
        failed: Messages on pictures that cannot be read.
    """

    model: Path
    folder: Path
    chosen: tuple[tuple["Valued", float], ...]
    pictures: tuple[NextPicture, ...]
    categories: Mapping[int, str]
    annotated: int
    candidates: int
    failed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        names = names_in(self.pictures)
        return {
            "model": str(self.model),
            "folder": str(self.folder),
            "annotated": self.annotated,
            "candidates": self.candidates,
            "next": [
                {
                    "image": str(picture.path),
                    "value": round(valued.value, 4),
                    "gain": round(gain, 4),
                    "uncertainty": {part: round(value, 4) for part, value in valued.parts.items()},
                    "instances": len(picture.results),
                    "file": str(self.folder / Path(name).with_suffix(".json")),
                    "saved_as": str(picture.target),
                }
                for (valued, gain), picture, name in zip(self.chosen, self.pictures, names, strict=True)
            ],
            "failed": list(self.failed),
        }
