"""TorchScript files and PT2 archives, run by PyTorch.

Both are programs: what is in them runs with the rights of the user. They are opened only where the user says that their
maker is trusted.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision  # noqa: F401  # its operators are in the files

from segkit.errors import InputError
from segkit.quiet import without_warnings
from segkit.runtimes.exported import (
    ABOUT_KEY,
    BAD_ARCHIVE,
    CARD_KEY,
    DAMAGED,
    Arrays,
    ExportedModel,
    about_in,
    card_in,
    output_names,
)

_MOST_BYTES = 16 << 20  # of metadata


class TorchProgram(ExportedModel):
    """A TorchScript file or a PT2 archive that segkit exported."""

    def __init__(self, path: Path, *, trust: bool = False) -> None:
        """Open a file.

        Args:
            path: The file.
            trust: Whether its maker is trusted.

        Raises:
            InputError: It is no such file, segkit did not export it, or its maker is not trusted.
        """
        metadata = _metadata(path)
        self.path, self.card = path, card_in(metadata.get(CARD_KEY), path)
        about = about_in(metadata.get(ABOUT_KEY), path)
        if {*about["outputs"]} - {"images_of"} != {*output_names(self.card)}:
            raise InputError(f"{path}: its graph is not that of its model card", "export it again")
        if not trust:
            kind = "TorchScript file" if path.suffix == ".torchscript" else "PT2 archive"
            raise InputError(
                f"{path}: a {kind} is a program, which may do anything that you may do",
                "use an ONNX file; or, if you know who made it, add --trust",
            )
        try:
            self._program: Any = _load(path)
        except Exception as error:  # torch raises many kinds
            raise InputError(f"{path}: a damaged file, or one of another version of PyTorch", DAMAGED) from error
        self._outputs = about["outputs"]
        self.takes_batches = about["input"] == "images"

    @torch.inference_mode()
    def run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """See ``ExportedModel``."""
        given = torch.from_numpy(images)
        values = self._program(given if self.takes_batches else given[0])
        return {name: value.numpy() for name, value in zip(self._outputs, values, strict=True)}


def _load(path: Path) -> Any:
    with without_warnings():  # of the age of TorchScript
        return _opened(path)


def _opened(path: Path) -> Any:
    if path.suffix == ".torchscript":
        return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]  # torch has no types there
    return torch.export.load(str(path)).module()


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a file, without running what is in it.

    Raises:
        InputError: It is no archive.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.rpartition("extra/")[2]
                if name in (CARD_KEY, ABOUT_KEY) and entry.file_size <= _MOST_BYTES:
                    found[name] = archive.read(entry).decode()
    except BAD_ARCHIVE as error:
        raise InputError(f"{path}: not a file that PyTorch exports, or a damaged one", DAMAGED) from error
    return found
