"""An engine of TensorRT, run on the GPU that it was built for; PyTorch holds its memory there."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segkit.errors import InputError
from segkit.extras import extra_package
from segkit.runtimes.exported import ABOUT_KEY, CARD_KEY, Arrays, ExportedModel, about_in, card_in

_MOST_METADATA = 16 << 20


class TensorRtModel(ExportedModel):
    """An engine that segkit exported: a plan of TensorRT with a zip archive of metadata at its end."""

    def __init__(self, path: Path, device: str = "cuda", *, trust: bool = False) -> None:
        """Open a file.

        Args:
            path: The file.
            device: ``cuda``, or ``cuda:1`` for another GPU.
            trust: Whether its maker is trusted: a plan may hold code.

        Raises:
            InputError: It is no such file, its maker is not trusted, or it is of another GPU or version of TensorRT.
        """
        metadata, size = _metadata(path)
        self.path, self.card = path, card_in(metadata.get(CARD_KEY), path)
        self._outputs = about_in(metadata.get(ABOUT_KEY), path)["outputs"]
        if not trust:
            raise InputError(
                f"{path}: an engine of TensorRT may hold code, which may do anything that you may do",
                "use an ONNX file; or, if you know who made it, add --trust",
            )
        self._trt = extra_package("tensorrt", str(path), "tensorrt")
        if not torch.cuda.is_available():
            raise InputError(
                f"{path}: runs on a GPU only, and no CUDA device is here", "use the ONNX file of the model"
            )
        self._device = _gpu(device)
        with path.open("rb") as file:
            runtime = self._trt.Runtime(self._trt.Logger(self._trt.Logger.ERROR))
            self._engine = runtime.deserialize_cuda_engine(file.read(size))
        if self._engine is None:
            why = "was built for another GPU or version of TensorRT, or is damaged"
            raise InputError(f"{path}: {why}", "export it again on this machine")
        self._context = self._engine.create_execution_context()

    def run(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """See ``ExportedModel``."""
        given = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
        if not self._context.set_input_shape("images", tuple(given.shape)):
            raise ValueError("its profile has no images of this size, or not so many at once")
        self._context.set_tensor_address("images", given.data_ptr())
        memory = {name: _memory_of(self._trt, self._device) for name in self._outputs}
        for name, each in memory.items():
            self._context.set_output_allocator(name, each)
        stream = torch.cuda.current_stream(self._device)
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT failed")
        stream.synchronize()
        return {
            name: each.values(np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name))))
            for name, each in memory.items()
        }


def _gpu(device: str) -> torch.device:
    return torch.device(device if device.startswith("cuda") else "cuda")


def _memory_of(trt: Any, device: torch.device) -> Any:
    """Memory for an output whose length is known when it is computed."""

    class Memory(trt.IOutputAllocator):  # type: ignore[misc]  # TensorRT has no types
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self._bytes: Tensor = torch.empty(0, dtype=torch.uint8, device=device)
            self._shape: tuple[int, ...] = (0,)

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:
            if size > self._bytes.numel():
                self._bytes = torch.empty(size, dtype=torch.uint8, device=device)
            return int(self._bytes.data_ptr())

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return self.reallocate_output(name, memory, size, alignment)

        def notify_shape(self, name: str, shape: Any) -> None:
            self._shape = tuple(int(side) for side in shape)

        def values(self, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
            count = int(np.prod(self._shape))
            host = self._bytes[: count * dtype.itemsize].cpu().numpy()
            return host.view(dtype).reshape(self._shape)

    return Memory()


def _metadata(path: Path) -> tuple[dict[str, str], int]:
    """The metadata at the end of a file, and how many bytes are before them.

    Raises:
        InputError: It has none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [each for each in archive.infolist() if each.file_size <= _MOST_METADATA]
            found = {each.filename: archive.read(each).decode() for each in entries}
            return found, min(each.header_offset for each in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path}: not an engine that segkit exported, or a damaged one") from error
