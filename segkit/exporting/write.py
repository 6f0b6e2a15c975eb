"""Writes a model in a format."""

import zipfile
from pathlib import Path
from typing import assert_never

import torch
from torch import nn

from segkit.choices import Exporter, ExportFormat
from segkit.errors import InputError
from segkit.exporting.graphs import ONE, Graph
from segkit.exporting.onnx import program_of, quiet, write_onnx
from segkit.exporting.tensorrt import check_tensorrt, write_tensorrt
from segkit.extras import extra_package
from segkit.models.safetensors_file import write_safetensors
from segkit.runtimes.litert_model import INTERPRETER

_LITERT_TORCH = "litert_torch"
_TENSORRT = (
    "write ONNX, and build the engine on the machine that will run it: trtexec --onnx=model.onnx "
    "--saveEngine=model.engine --minShapes=images:1x3x64x64 --optShapes=images:1x3x640x640 "
    "--maxShapes=images:4x3x1333x1333"
)


def check_format(format: ExportFormat, kind: str, exporter: Exporter) -> None:
    """Check that a format can be written here, before anything is computed.

    Args:
        format: The format.
        kind: What the model predicts: ``instances`` or ``semantic``.
        exporter: Of ONNX.

    Raises:
        InputError: It needs a package that is not installed, or is not for such models.
    """
    if format == "openvino":
        extra_package("openvino", "--format openvino", "openvino")
    if format == "litert":
        if kind != "semantic":
            raise InputError("--format litert: for U-Nets only: LiteRT has no operators for detections", "use onnx")
        for module in (INTERPRETER, _LITERT_TORCH):
            extra_package(module, "--format litert", "litert")
    if format == "tensorrt":
        check_tensorrt()
    if exporter == "dynamo":
        extra_package("onnxscript", "--exporter dynamo", "dynamo")


def write(
    format: ExportFormat,
    graph: Graph,
    metadata: dict[str, str],
    path: Path,
    *,
    half: bool,
    size: tuple[int, int],
    exporter: Exporter,
) -> None:
    """Write a model.

    Args:
        format: The format.
        graph: The model.
        metadata: Of the file.
        path: File to write.
        half: Whether weights are in 16 bits.
        size: Height and width, where a file takes images of one size only, or is the fastest with one.
        exporter: Of ONNX.
    """
    if (format in ("pt2", "openvino", "tensorrt") or exporter == "dynamo") and graph.input == ONE:
        option = "--exporter dynamo" if format == "onnx" else f"--format {format}"
        raise InputError(
            f"{option}: not for CondInst, SOLOv2, RF-DETR and PointRend: their graphs take one image",
            "use --format onnx --exporter torchscript",
        )
    match format:
        case "onnx":
            write_onnx(graph, metadata, path, exporter)
        case "torchscript":
            with quiet(), torch.no_grad():
                traced = torch.jit.trace(graph.module, (graph.example,), check_trace=False)  # type: ignore[no-untyped-call]  # torch has no types there
                torch.jit.save(traced, str(path), _extra_files=metadata)
        case "pt2":
            _write_pt2(graph, metadata, path)
        case "safetensors":
            state = model_in(graph).state_dict()
            if half:
                state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
            write_safetensors(path, state, metadata)
        case "openvino":
            _write_openvino(graph, metadata, path, half=half)
        case "litert":
            _write_litert(graph, metadata, path, size)
        case "tensorrt":
            write_tensorrt(graph, metadata, path, half=half, size=size)
        case _:
            assert_never(format)


def model_in(graph: Graph) -> nn.Module:
    """The model of a graph."""
    model: nn.Module = graph.module.model  # type: ignore[assignment]  # an nn.Module's attribute
    return model


def _write_pt2(graph: Graph, metadata: dict[str, str], path: Path) -> None:
    with quiet():
        torch.export.save(program_of(graph), str(path), extra_files=metadata)


def _write_litert(graph: Graph, metadata: dict[str, str], path: Path, size: tuple[int, int]) -> None:
    """Write a flat buffer, and its metadata as a zip archive at its end, as TensorFlow Lite's metadata are."""
    example = torch.zeros((1, graph.channels, *size), dtype=torch.uint8)
    with quiet():
        extra_package(_LITERT_TORCH, "--format litert", "litert").convert(graph.module, (example,)).export(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        for key, text in metadata.items():
            archive.writestr(zipfile.ZipInfo(key), text)


def _write_openvino(graph: Graph, metadata: dict[str, str], path: Path, *, half: bool) -> None:
    """Write the .xml file, and the .bin file beside it, by way of ONNX."""
    openvino = extra_package("openvino", "--format openvino", "openvino")
    onnx_file = path.with_suffix(".onnx")
    try:
        write_onnx(graph, metadata, onnx_file)
        model = openvino.convert_model(str(onnx_file))
        for key, text in metadata.items():
            model.set_rt_info(text, [key])
        openvino.save_model(model, str(path), compress_to_fp16=half)
    finally:
        onnx_file.unlink(missing_ok=True)
