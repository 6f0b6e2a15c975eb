"""A LiteRT (TensorFlow Lite) file of a U-Net for images of one size, run by LiteRT on the CPU."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.errors import InputError
from segkit.extras import extra_package
from segkit.runtimes.exported import BAD_ARCHIVE, CARD_KEY, DAMAGED, Arrays, ExportedModel, card_in, output_names

INTERPRETER = "ai_edge_litert.interpreter"
_MOST_BYTES = 2 << 30
_MOST_METADATA = 16 << 20
_MAGIC = b"TFL3"  # at bytes 4 to 7


class LiteRtModel(ExportedModel):
    """A LiteRT file that segkit exported: a flat buffer with a zip archive of metadata at its end."""

    takes_batches = False

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Open a file.

        Args:
            path: The file.
            threads: Of the CPU; 0: as many as LiteRT takes.

        Raises:
            InputError: It is no such file, segkit did not export it, or LiteRT is not installed.
        """
        interpreter = extra_package(INTERPRETER, str(path), "litert").Interpreter
        self.path, self.card = path, card_in(_card_text(path), path)
        try:
            self._interpreter: Any = interpreter(str(path), num_threads=threads or None)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not a LiteRT file that can be run", DAMAGED) from error
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = sorted(self._interpreter.get_output_details(), key=lambda each: str(each["name"]))
        if len(self._outputs) != len(output_names(self.card)) or len(self._input["shape"]) != 4:
            raise InputError(f"{path}: its graph is not that of its model card", "export it again")
        height, width = (int(side) for side in self._input["shape"][2:])
        self.size: tuple[int, int] = (height, width)

    def run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """See ``ExportedModel``.

        Raises:
            InputError: The image has another size than the file was made for.
        """
        if tuple(images.shape[-2:]) != self.size:
            own, other = (f"{height}x{width}" for height, width in (self.size, images.shape[-2:]))
            raise InputError(
                f"{self.path}: takes images of {own} pixels, not of {other}", "use the ONNX file of the model"
            )
        self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(images))
        self._interpreter.invoke()
        found = (self._interpreter.get_tensor(each["index"]).copy() for each in self._outputs)
        return dict(zip(output_names(self.card), found, strict=True))


def _card_text(path: Path) -> str | None:
    """The model card in a file's metadata.

    Raises:
        InputError: It is no LiteRT file.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: larger than 2 GiB, which no LiteRT file can be")
    with path.open("rb") as file:
        if file.read(8)[4:] != _MAGIC:
            raise InputError(f"{path}: not a LiteRT file that can be run", DAMAGED)
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(CARD_KEY)
            return archive.read(entry).decode() if entry.file_size <= _MOST_METADATA else None
    except (KeyError, *BAD_ARCHIVE):
        return None
