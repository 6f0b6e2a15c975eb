"""Read a bottled step, which may be damaged, cut short, or made by somebody else to do harm."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.data.files import checksum, is_file
from segkit.errors import InputError
from segkit.loading.whole import Sample
from segkit.models.card import ModelCard, read_card
from segkit.runs.checkpoint import load_checkpoint
from segkit.runs.find import LAST, PREVIOUS
from segkit.runs.folder import CONFIG, FAILURES, LATEST, find_run
from segkit.training.failures import bottle
from segkit.training.failures.step_failure import Kind

_DAMAGED = "was it cut short or edited? only the run that wrote it can write it again"
_MOST_JSON = 2**26  # bytes
_NUMBERS = ("step", "rank", "ranks", "batch", "micro_batch", "threads")
_NEEDED = (*_NUMBERS, "kind", "phase", "message", "losses", "lr", "precision", "learns", "images", "card", "files",
           "device", "versions", "data")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bottle:
    """A failing step as it was kept.

    Attributes:
        path: Its folder.
        document: What ``bottle.json`` says.
        config: The options of the run, with a value for each.
        card: The model.
    """

    path: Path
    document: dict[str, Any]
    config: TrainConfig
    card: ModelCard

    @property
    def kind(self) -> Kind:
        """What failed."""
        kind: Kind = self.document["kind"]
        return kind

    @property
    def run(self) -> Path:
        """The folder of its run, where the bottle is still in it."""
        return self.path.absolute().parent.parent

    @property
    def losses(self) -> dict[str, float] | None:
        """The losses of its rank then."""
        found = self.document["losses"]
        return None if found is None else {name: float(value) for name, value in found.items()}

    def state(self, device: torch.device) -> dict[str, Any]:
        """Weights, random state and what else the step began with.

        Raises:
            InputError: They cannot be read; or the weights are elsewhere, and not there any more.
        """
        content = _load(self.path / bottle.STATE, device)
        if not isinstance(content, dict) or not {"random", "scaler", "teaching"} <= content.keys():
            raise InputError(f"{self.path / bottle.STATE}: is not the state of a step", _DAMAGED)
        return content if "model" in content else content | self._of_checkpoint(device)

    def _of_checkpoint(self, device: torch.device) -> dict[str, Any]:
        """The weights of the run's checkpoint, where it is of this very step."""
        before = self.document["step"] - 1
        for path in (self.run / LAST, self.run / PREVIOUS):
            if is_file(path) and (content := load_checkpoint(path, device)).get("step") == before:
                average = content["model"] if content["raw"] else {}
                return {"model": content["raw"] or content["model"], "average": average,
                        "optimizer": content["optimizer"]}  # fmt: skip
        raise InputError(
            f"{self.path}: the weights were too large for it, and {self.run} has no checkpoint after step {before} "
            "any more",
            "copy the run with its checkpoint right after the step has failed",
        )

    def pictures(self) -> list[Sample] | None:
        """The images of the batch; None where they were too large to be kept.

        Raises:
            InputError: They cannot be read.
        """
        path, entries = self.path / bottle.BATCH, self.document["images"]
        if bottle.BATCH not in self.document["files"]:
            return None
        content = _load(path, torch.device("cpu"))
        if not isinstance(content, list) or len(content) != len(entries):
            raise InputError(f"{path}: is not the batch of the step", _DAMAGED)
        samples = []
        for plain, entry in zip(content, entries, strict=True):
            if not _is_picture(plain, self.card.channels):
                raise InputError(f"{path}: is not the batch of the step", _DAMAGED)
            samples.append(bottle.sample_from_plain(plain, entry))
        check_same(path, samples, entries)
        return samples


def check_same(path: Path, samples: Sequence[Sample], entries: Sequence[dict[str, Any]]) -> None:
    """Check that images are those of the step, to the last pixel.

    Args:
        path: Where they are from.
        samples: The images.
        entries: What ``bottle.json`` says of each.

    Raises:
        InputError: One is not.
    """
    for sample, entry in zip(samples, entries, strict=True):
        if bottle.digest(sample) != entry["digest"]:
            raise InputError(
                f"{path}: {entry['file']} is not what it was when the step failed",
                "was the picture or its annotations changed since? the step cannot be run again without them",
            )


def find_bottle(path: Path | None) -> Path:
    """The folder of a bottled step: as named, or the last one of a run; by default of the latest run.

    Raises:
        InputError: There is none.
    """
    if path is not None and is_file(path) and path.name == bottle.BOTTLE:
        path = path.parent
    if path is not None and is_file(path / bottle.BOTTLE):
        return path
    if path is not None and (is_file(path / bottle.STATE) or not (path.name == LATEST or is_file(path / CONFIG))):
        raise InputError(f"{path}: holds no failing step: it has no {bottle.BOTTLE}", "name a folder in RUN/failures")
    run = find_run(path if path is not None else Path("runs") / LATEST)
    kept = [each.parent for each in run.glob(f"{FAILURES}/[!.]*/{bottle.BOTTLE}")]
    if not kept:
        raise InputError(f"{run}: no step of it has failed, or none was kept (--failures 0)")
    return max(kept, key=lambda each: (each.stat().st_mtime_ns, each.name))


def read_bottle(path: Path) -> Bottle:
    """Read a bottled step and check that it is whole.

    Raises:
        InputError: It is not, or was written by a newer segkit.
    """
    document = _document(path / bottle.BOTTLE)
    for name, expected in document["files"].items():
        if name not in (bottle.CONFIG, bottle.STATE, bottle.BATCH, bottle.SNAPSHOT):
            raise InputError(f"{path / bottle.BOTTLE}: names a file that no bottle has: {name!r}", _DAMAGED)
        if not is_file(path / name) or (path / name).is_symlink():
            raise InputError(f"{path / name}: no such file", _DAMAGED)
        if checksum(path / name) != expected:
            raise InputError(f"{path / name}: damaged: its checksum is wrong", _DAMAGED)
    if {bottle.CONFIG, bottle.STATE} - document["files"].keys():
        raise InputError(f"{path}: is not whole", _DAMAGED)
    config = load_config(TrainConfig, path / bottle.CONFIG)
    return Bottle(path, document, config, read_card(document["card"], path / bottle.BOTTLE))


def _document(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_JSON:
        raise InputError(f"{path}: is too large for what it should hold", _DAMAGED)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON", _DAMAGED) from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise InputError(f"{path}: does not describe a failing step", _DAMAGED)
    if document["format"] != bottle.FORMAT:
        by = document.get("versions")
        version = by.get("segkit") if isinstance(by, dict) else None
        raise InputError(
            f"{path}: is of format {document['format']}, this segkit reads format {bottle.FORMAT}",
            f"replay it with the segkit that wrote it{f': {version}' if isinstance(version, str) else ''}",
        )
    if not _is_sound(document):
        raise InputError(f"{path}: lacks what describes a failing step", _DAMAGED)
    return document


def _is_sound(document: dict[str, Any]) -> bool:
    """Whether the values that a replay uses have the types that it expects."""
    if any(name not in document for name in _NEEDED):
        return False
    numbers = [document[name] for name in _NUMBERS]
    images, losses, files = document["images"], document["losses"], document["files"]
    try:
        [float(value) for value in (losses or {}).values()]
        [bottle.key_of(entry) for entry in images]
        texts = [text for entry in images for text in (entry["file"], entry["digest"])]
        sides = [side for entry in images for side in (entry["height"], entry["width"])]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
    texts += [document["message"], document["phase"], document["device"], *document["learns"], *files.values()]
    return (
        all(type(number) is int and 0 <= number < 2**31 for number in (*numbers, *sides))
        and min(document["step"], document["batch"], document["micro_batch"], document["threads"]) > 0
        and all(isinstance(text, str) for text in texts)
        and document["kind"] in get_args(Kind)
        and document["precision"] in ("float32", "bfloat16", "float16")
        and isinstance(document["lr"], int | float)
        and isinstance(document["versions"], dict)
        and isinstance(document["data"], dict)
        and bool(images)
    )


def _is_picture(plain: Any, channels: int) -> bool:
    """Whether a value has the form of an image and its target."""
    if not isinstance(plain, dict) or plain.keys() != {"image", "target"} or not isinstance(plain["target"], dict):
        return False
    image, target = plain["image"], plain["target"]
    tensors = ("boxes", "labels", "box_masks", "masks", "semantic", "distances", "weak")
    return (
        isinstance(image, Tensor)
        and image.dtype == torch.uint8
        and image.ndim == 3
        and image.shape[0] == channels
        and all(isinstance(value, Tensor) == (name in tensors) for name, value in target.items())
    )


def _load(path: Path, device: torch.device) -> Any:
    """The tensors and plain values in a file; code in it is not run.

    Raises:
        InputError: It is damaged, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise InputError(f"{path}: damaged: a checksum in it is wrong", _DAMAGED)
        return torch.load(path, map_location=device, weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch raises many types for a file that is not its own
        raise InputError(f"{path}: holds more than tensors and plain values, or is damaged", _DAMAGED) from error
