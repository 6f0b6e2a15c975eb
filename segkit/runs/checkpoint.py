"""Checkpoints: written and loaded.

Files load with ``torch.load(..., weights_only=True)``; ``["model"]`` is the state dict. A file is written under a
temporary name, flushed to the disk, and renamed: a crash leaves the old file or the new one, never a part of one. The
format holds a CRC32 of every tensor, which is checked before loading; PyTorch's own reader does not check it.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.data.files import temporary_file
from segkit.errors import InputError
from segkit.models.card import ModelCard, read_card
from segkit.runs.find import LAST, PREVIOUS
from segkit.runs.folder import CONFIG

_NEEDED = ("raw", "optimizer", "scaler", "random", "step")  # to go on with a run
_VERSION = 2
_OTHER = "use the run's other one"


def save_checkpoint(path: Path, content: dict[str, Any], keep_as: Path | None = None) -> None:
    """Write a checkpoint; a crash at any moment leaves a whole file.

    Args:
        path: The file.
        content: Plain values and tensors.
        keep_as: Keep the file that was there before under this name; None: replace it.

    Raises:
        InputError: The disk is full.
    """
    try:
        with temporary_file(path, flush=True) as temporary:
            with temporary.open("wb") as file:
                torch.save({"version": _VERSION, **content}, file)
            if keep_as is not None and path.exists():
                _link(path, keep_as)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as RuntimeError
        if keep_as is not None and keep_as.exists():  # there is room for two files, but not for three: drop the oldest
            keep_as.unlink()
            save_checkpoint(path, content, keep_as)
            return
        if isinstance(error, OSError):
            raise
        kept = f"; the checkpoint before it is intact: {path}" if path.exists() else ""
        raise InputError(
            f"{path}: cannot be written{kept}", "is the disk full? free some space and go on: --resume"
        ) from error


def _link(path: Path, name: Path) -> None:
    """Give a file a second name; the first stays valid all the time."""
    link = name.with_name(f".{name.name}.writing")
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(path)
    except OSError:  # no hard links here: for a moment there is only the second name, which ``load_last`` reads too
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
                raise InputError(f"{path}: damaged: the checksum of {damaged} is wrong", _OTHER)
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except InputError:
        raise
    except Exception as error:  # torch raises many types for a file that is not its own
        raise InputError(f"{path}: not a checkpoint, or a damaged one", _OTHER) from error
    if not (isinstance(content, dict) and "model" in content and "card" in content):
        raise InputError(f"{path}: not a segkit checkpoint", "to start from plain weights: segkit train --weights FILE")
    read_card(content["card"], path)
    return content


def load_last(run: Path, device: torch.device | str, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest undamaged checkpoint of a run, and its file; None where the run has none yet.

    Args:
        run: The run's folder.
        device: Of the loaded tensors.
        warn: Called with a message if the newest checkpoint is damaged.

    Raises:
        InputError: All are damaged, or a run cannot go on from them.
    """
    paths = [path for path in (run / LAST, run / PREVIOUS) if path.is_file()]
    for path in paths:
        try:
            content = load_checkpoint(path, device)
            _check_whole(path, content)
            return path, content
        except InputError as error:
            if path == paths[-1]:
                again = f"no whole checkpoint is left: start again with segkit train --config {run / CONFIG}"
                raise InputError(error.message, again if error.hint == _OTHER else error.hint) from error
            warn(f"{error.message}: going on from the one before it, {paths[-1].name}")
    return None


def _check_whole(path: Path, content: dict[str, Any]) -> None:
    """Check that a run can go on from a checkpoint.

    Raises:
        InputError: It cannot.
    """
    missing = [name for name in _NEEDED if name not in content]
    if missing:
        raise InputError(
            f"{path}: no run can go on from it: it has no {missing[0]!r}",
            "best.pt has the weights only: for a new run with them, segkit train --weights FILE",
        )
    values = [value for value in content["model"].values() if value.is_floating_point()]
    if not all(bool(value.isfinite().all()) for value in values):
        raise InputError(f"{path}: has weights that are not finite", "start again with a smaller --lr")


def load_model(path: Path, device: torch.device) -> tuple[nn.Module, ModelCard]:
    """The model in a checkpoint, in evaluation mode, and its model card.

    Raises:
        InputError: It cannot be read, or its tensors are not those of its model card.
    """
    return model_in(load_checkpoint(path, device), path, device)


def model_in(content: dict[str, Any], path: Path, device: torch.device) -> tuple[nn.Module, ModelCard]:
    """The same of a checkpoint that was read.

    Raises:
        InputError: Its tensors are not those of its model card.
    """
    card = read_card(content["card"], path)
    try:
        module = card.build()
        module.load_state_dict(content["model"])
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its tensors are not those of its model card", "was it edited?") from error
    return module.to(device).eval(), card
