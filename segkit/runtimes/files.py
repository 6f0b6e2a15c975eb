"""Which files are exported models, and what opens them."""

from pathlib import Path

from segkit.choices import ExportFormat
from segkit.errors import InputError
from segkit.runtimes.exported import ExportedModel
from segkit.runtimes.onnx_model import OnnxModel

SUFFIXES: dict[ExportFormat, str] = {
    "onnx": ".onnx",
    "torchscript": ".torchscript",
    "pt2": ".pt2",
    "safetensors": ".safetensors",
    "openvino": ".xml",
    "litert": ".tflite",
    "tensorrt": ".engine",
}
"""How the names of exported files end, by format."""

WITHOUT_TORCH: frozenset[ExportFormat | None] = frozenset({"onnx", "openvino", "litert"})
"""The formats whose files predict without PyTorch."""


def format_of(path: Path) -> ExportFormat | None:
    """The format of an exported file by its name; None: it is none."""
    return next((name for name, suffix in SUFFIXES.items() if path.suffix == suffix), None)


def open_exported(path: Path, device: str = "cpu", *, threads: int = 0, trust: bool = False) -> ExportedModel:
    """Open an exported file with the runtime of its format.

    Args:
        path: The file.
        device: Where ONNX Runtime computes: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``; the others compute on the CPU.
        threads: Of the CPU, in runtimes that have such a setting; 0: as many as they take.
        trust: Whether its maker is trusted: needed for files that are programs.

    Raises:
        InputError: It is no such file, segkit did not export it, or its runtime is not installed.
    """
    match format_of(path):
        case "onnx":
            return OnnxModel(path, device, threads)
        case "torchscript" | "pt2":
            from segkit.runtimes.torch_programs import TorchProgram  # noqa: PLC0415 -- each runtime when it is needed

            return TorchProgram(path, trust=trust)
        case "safetensors":
            from segkit.runtimes.weights_file import WeightsModel  # noqa: PLC0415 -- likewise

            return WeightsModel(path)
        case "openvino":
            from segkit.runtimes.openvino_model import OpenVinoModel  # noqa: PLC0415 -- likewise

            return OpenVinoModel(path, threads)
        case "litert":
            from segkit.runtimes.litert_model import LiteRtModel  # noqa: PLC0415 -- likewise

            return LiteRtModel(path, threads)
        case "tensorrt":
            from segkit.runtimes.tensorrt_model import TensorRtModel  # noqa: PLC0415 -- likewise

            return TensorRtModel(path, device, trust=trust)
        case _:
            raise InputError(f"{path}: segkit has no runtime for such files", "use the ONNX file of the model")
