"""The teacher of a run: found, and checked against what it is to teach."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from segkit.choices import ARCHITECTURES
from segkit.data.records import Category, in_label_order
from segkit.errors import ConfigError
from segkit.models.backbones import strides_of
from segkit.models.card import ModelCard, read_card
from segkit.runs.checkpoint import load_checkpoint
from segkit.runs.find import find_checkpoint

_NAMED = 6  # categories in a message


@dataclass(frozen=True, slots=True)
class TeacherFile:
    """A trained model that teaches.

    Attributes:
        path: Its checkpoint.
        card: Its model card.
        digest: SHA-256 of the file.
        labels: For each label of the student, from 0 (background) on, the teacher's label.
    """

    path: Path
    card: ModelCard
    digest: str
    labels: tuple[int, ...]

    def describe(self) -> str:
        """The teacher in a sentence."""
        return f"the teacher is a {self.card.model} with {self.card.backbone}: {self.path}"

    def origin(self) -> dict[str, str]:
        """What ``origin.json`` says of it."""
        return {"file": str(self.path.absolute()), "model": self.card.model, "sha256": self.digest}


def find_teacher(run: Path, card: ModelCard) -> TeacherFile:
    """The teacher that ``--teacher`` names.

    Args:
        run: A run, or a checkpoint.
        card: The model that it is to teach.

    Raises:
        SegkitError: There is none, or it cannot teach this model.
    """
    path = find_checkpoint(run)
    if path.suffix == ".onnx":
        raise ConfigError(f"--teacher {run}: an exported file shows no features", "name the run that it came from")
    own = read_card(load_checkpoint(path)["card"], path)
    if own.framing.kind != card.framing.kind:
        raise ConfigError(
            f"--teacher {run}: is a {own.model}, and finds other things than a {card.model}",
            f"use --model {own.model}, or another teacher",
        )
    if own.channels != card.channels:
        raise ConfigError(
            f"--teacher {run}: sees {own.channels} channels, the student {card.channels}",
            f"use --channels {own.channels}, or another teacher",
        )
    if ARCHITECTURES[own.model].pixels and strides_of(own.backbone) != strides_of(card.backbone):
        raise ConfigError(
            f"--teacher {run}: a decoder on {own.backbone} has other strides than one on {card.backbone}",
            "plain teaches plain, and any other backbone any other",
        )
    if _stuff_names(own) != _stuff_names(card):
        raise ConfigError(
            f"--teacher {run}: other categories are stuff for it than for the student",
            "train both with --model panoptic and the same --stuff",
        )
    for model in (card.model, own.model):
        if not (ARCHITECTURES[model].regions or ARCHITECTURES[model].pixels):
            raise ConfigError(
                f"--teacher: a {model} neither teaches nor is taught", "use maskrcnn or fasterrcnn for both, or unet"
            )
    if own.channels != card.channels:
        raise ConfigError(
            f"--teacher {run}: takes images of {own.channels} channels, and not of {card.channels}",
            "train both with the same --channels",
        )
    return TeacherFile(path, own, _digest(path), _labels(run, own, card))


def _labels(run: Path, teacher: ModelCard, student: ModelCard) -> tuple[int, ...]:
    """The teacher's label for each of the student's, by the names of categories.

    Raises:
        ConfigError: One of them has a category that the other does not have.
    """
    known, wanted = _names(teacher.categories), _names(student.categories)
    if set(known) != set(wanted):
        lacks = [name for name in wanted if name not in known]
        adds = [name for name in known if name not in wanted]
        said = [f"does not know {_list(lacks)}"] if lacks else []
        said += [f"knows {_list(adds)}, which the dataset does not have"] if adds else []
        raise ConfigError(f"--teacher {run}: {' and '.join(said)}", "a teacher needs the categories of the dataset")
    return (0, *(known.index(name) + 1 for name in wanted))


def _names(categories: tuple[Category, ...]) -> list[str]:
    return [category.name for category in in_label_order(categories)]


def _stuff_names(card: ModelCard) -> set[str]:
    return {category.name for category in card.categories if category.id in card.stuff}


def _list(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
