"""An ONNX file, run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from segkit.errors import InputError
from segkit.runtime.cores import cores_if_limited
from segkit.runtimes.exported import CARD_KEY, DAMAGED, Arrays, ExportedModel, card_in, output_names
from segkit.runtimes.foreign_onnx import check_onnx

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_DRIVER = Path("/dev/nvidiactl")  # of NVIDIA on Linux


class OnnxModel(ExportedModel):
    """An ONNX file that segkit exported; files of older versions take one image at a time."""

    def __init__(self, path: Path, device: str = "cpu", threads: int = 0) -> None:
        """Open a file.

        Args:
            path: The file.
            device: ``cpu``; ``cuda`` or ``cuda:1`` for ONNX Runtime's CUDA provider; ``auto``: that where there is one.
            threads: Of the CPU; 0: as many as ONNX Runtime takes, or as this process may use where they are fewer.

        Raises:
            InputError: It is not an ONNX file, or segkit did not export it, or it reads files elsewhere.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what it logs as an error it raises, too
        options.intra_op_num_threads = threads or cores_if_limited()
        check_onnx(path)
        try:
            self._session = ort.InferenceSession(str(path), options, providers=_providers(device))
        except Exception as error:  # ONNX Runtime's own exceptions derive from nothing useful
            raise InputError(f"{path}: not an ONNX file that can be run", DAMAGED) from error
        wants_gpu = device.startswith("cuda") or (device == "auto" and _DRIVER.exists())
        if wants_gpu and self._session.get_providers()[0] != _CUDA:
            self.notes = (f"warning: ONNX Runtime has no CUDA here: {path.name} runs on the CPU",)
        self.path, self.card = path, card_in(_metadata(self._session).get(CARD_KEY), path)
        self._outputs = [output.name for output in self._session.get_outputs()]
        inputs = [each.name for each in self._session.get_inputs()]
        if inputs not in (["images"], ["image"]) or set(self._outputs) - {"images_of"} != set(output_names(self.card)):
            raise InputError(f"{path}: its graph is not that of its model card", "export it again")
        self._input = inputs[0]
        self.takes_batches = self._input == "images"

    def run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """See ``ExportedModel``."""
        given = images if self.takes_batches else images[0]
        values: list[Any] = self._session.run(None, {self._input: np.ascontiguousarray(given)})
        named = dict(zip(self._outputs, values, strict=True))
        if not self.takes_batches and "probabilities" in named:
            named = {name: value[None] for name, value in named.items()}
        return named


def _metadata(session: ort.InferenceSession) -> dict[str, str]:
    """The metadata of a file; none where they are no text."""
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError:
        return {}


def _providers(device: str) -> list[Any]:
    if device == "cpu" or _CUDA not in ort.get_available_providers():
        return [_CPU]
    number = device.partition(":")[2] or "0"
    return [(_CUDA, {"device_id": number}), _CPU]
