"""An OpenVINO model (IR: an .xml file and a .bin file), run by OpenVINO on the CPU."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from segkit.errors import InputError
from segkit.extras import extra_package
from segkit.runtimes.exported import CARD_KEY, DAMAGED, Arrays, ExportedModel, card_in, output_names


class OpenVinoModel(ExportedModel):
    """An OpenVINO model that segkit exported."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Open a file.

        Args:
            path: The .xml file.
            threads: Of the CPU; 0: as many as OpenVINO takes.

        Raises:
            InputError: It is no such file, segkit did not export it, or OpenVINO is not installed.
        """
        openvino = extra_package("openvino", str(path), "openvino")
        if not path.with_suffix(".bin").is_file():
            raise InputError(f"{path}: its weights are not beside it: {path.stem}.bin", "copy both files")
        settings = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
        try:
            model = openvino.Core().read_model(str(path), str(path.with_suffix(".bin")))
            card = model.get_rt_info([CARD_KEY]).astype(str) if model.has_rt_info([CARD_KEY]) else None
            self.path, self.card = path, card_in(card, path)
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
            inputs = [each.get_any_name() for each in self._compiled.inputs]
        except RuntimeError as error:  # OpenVINO's errors
            raise InputError(f"{path}: not an OpenVINO model that can be run", DAMAGED) from error
        known = {*output_names(self.card), "images_of"}  # OpenVINO may give a tensor further names
        names = [known & output.get_names() for output in self._compiled.outputs]
        self._outputs = [name for found in names for name in found]
        complete = set(self._outputs) | {"images_of"} == known and all(len(found) == 1 for found in names)
        if inputs not in (["images"], ["image"]) or not complete:
            raise InputError(f"{path}: its graph is not that of its model card", "export it again")
        self.takes_batches = inputs == ["images"]

    def run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """See ``ExportedModel``."""
        given = images if self.takes_batches else images[0]
        found = self._compiled(np.ascontiguousarray(given))
        values = [found[output] for output in self._compiled.outputs]
        return {name: value.copy() for name, value in zip(self._outputs, values, strict=True)}
