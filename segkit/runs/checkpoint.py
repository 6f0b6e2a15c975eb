"""A file to go on from, and the model in it.

Files load with ``torch.load(..., weights_only=True)``; ``["model"]`` is the state dict. A file is
written under a temporary name, flushed to the disk, and renamed: a crash leaves the old one or the new one, never half
of one. The CRC32 that the format holds for every tensor is checked before a file is believed, which PyTorch's own
reader does not do.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.data.files import temporary_file
from segkit.errors import InputError
from segkit.models.card import ModelCard
from segkit.runs.folder import LATEST, find_run

LAST, PREVIOUS, BEST = "last.pt", "last.previous.pt", "best.pt"
_VERSION = 2


def save_checkpoint(path: Path, content: dict[str, Any], keep_as: Path | None = None) -> None:
    """Write a checkpoint so that a crash at any moment leaves a whole file.

    Args:
        path: Where.
        content: Plain values and tensors.
        keep_as: What the file that was there before is called from now on; None: it goes.

    Raises:
        InputError: The disk is full.
    """
    try:
        with temporary_file(path, flush=True) as temporary:
            with temporary.open("wb") as file:
                torch.save({"version": _VERSION, **content}, file)
            if keep_as is not None and path.exists():
                _name_also(path, keep_as)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as RuntimeError
        if keep_as is not None and keep_as.exists():  # room for two, not for three: the newest two count
            keep_as.unlink()
            save_checkpoint(path, content, keep_as)
            return
        if isinstance(error, OSError):
            raise
        kept = f"; the checkpoint before it is intact: {path}" if path.exists() else ""
        raise InputError(
            f"{path}: cannot be written{kept}", "is the disk full? free some space and go on: --resume"
        ) from error


def _name_also(path: Path, name: Path) -> None:
    """Give a file a second name, so that at no moment there is none under the first."""
    link = name.with_name(f".{name.name}.linking")
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(path)
    except OSError:  # a file system without hard links: for a moment there is only the second name, which is read too
        path.replace(name)
        return
    link.replace(name)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        InputError: It is missing, damaged, or not segkit's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise InputError(f"{path}: damaged: the checksum of {damaged} is wrong", "use the run's other one")
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except InputError:
        raise
    except Exception as error:  # torch raises a dozen kinds for a file that is not its own
        raise InputError(f"{path}: not a checkpoint, or a damaged one", "use the run's other one") from error
    if not (isinstance(content, dict) and "model" in content and "card" in content):
        raise InputError(f"{path}: not a segkit checkpoint", "to start from plain weights: segkit train --weights FILE")
    return content


def load_last(run: Path, device: torch.device | str, tell: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a run that is whole, and its file; None where it has none yet.

    Args:
        run: The folder.
        device: Where its tensors go.
        tell: Who hears that the newest was damaged.

    Raises:
        InputError: All are damaged.
    """
    paths = [path for path in (run / LAST, run / PREVIOUS) if path.is_file()]
    for path in paths:
        try:
            return path, load_checkpoint(path, device)
        except InputError as error:
            if path == paths[-1]:
                raise
            tell(f"{error.message}: going on from the one before it, {paths[-1].name}")
    return None


def find_checkpoint(model: Path | None, runs: Path = Path("runs")) -> Path:
    """The checkpoint that MODEL means: a run's best one (else its last), a file, or by default the latest run's.

    Raises:
        InputError: There is none.
    """
    path = model if model is not None else runs / LATEST
    if path.name == LATEST and path.is_file():
        path = find_run(path)
    if path.is_dir():
        for name in (BEST, LAST, PREVIOUS):
            if (path / name).is_file():
                return path / name
        raise InputError(
            f"{path}: holds no checkpoint",
            "was it interrupted before the first one? see segkit train --resume",
        )
    if not path.exists():
        hint = "train one: segkit train" if model is None else None
        raise InputError(f"{path}: no such {'run' if model is None else 'model'}", hint)
    return path


def card_of_weights(weights: str | None) -> ModelCard | None:
    """The card in a file that ``--weights`` names; None where it is no checkpoint of segkit's."""
    if weights is None or not Path(weights).is_file():
        return None
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch raises a dozen kinds; whoever loads the weights says what is wrong with the file
        return None
    return ModelCard.from_plain(content["card"]) if isinstance(content, dict) and "card" in content else None


def load_model(path: Path, device: torch.device) -> tuple[nn.Module, ModelCard]:
    """The model in a checkpoint, ready to predict."""
    content = load_checkpoint(path, device)
    card = ModelCard.from_plain(content["card"])
    module = card.build()
    module.load_state_dict(content["model"])
    return module.to(device).eval(), card
