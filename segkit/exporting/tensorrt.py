"""ONNX -> an engine of TensorRT, for the GPU and the version of TensorRT that are here."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from segkit.errors import InputError
from segkit.exporting.graphs import Graph
from segkit.exporting.onnx import write_onnx
from segkit.extras import extra_package

_MOST_IMAGES = 4  # at once
_LONGEST = 1333  # side of an image, where the dataset has no longer ones
_TRTEXEC = (
    "trtexec --onnx=model.onnx --saveEngine=model.engine --minShapes=images:1x3x64x64 --optShapes=images:1x3x640x640 "
    "--maxShapes=images:4x3x1333x1333"
)


def check_tensorrt() -> None:
    """Check that an engine can be built here.

    Raises:
        InputError: TensorRT is not installed, or there is no GPU.
    """
    try:
        extra_package("tensorrt", "--format tensorrt", "tensorrt")
    except InputError as error:
        where = "on the machine that will run the engine"
        raise InputError(error.message, f"{error.hint} {where}; or write ONNX, and there: {_TRTEXEC}") from None
    if not torch.cuda.is_available():
        raise InputError(
            "--format tensorrt: an engine is built on the GPU that will run it, and no CUDA device is here",
            f"write ONNX, and on that machine: {_TRTEXEC}",
        )


def write_tensorrt(graph: Graph, metadata: dict[str, str], path: Path, *, half: bool, size: tuple[int, int]) -> None:
    """Build an engine, and write it with its metadata as a zip archive at its end.

    Args:
        graph: The model.
        metadata: Of the file.
        path: File to write.
        half: Whether kernels of 16 bits may be used.
        size: Height and width of images for which it is made fastest.

    Raises:
        InputError: TensorRT cannot build it.
    """
    trt = extra_package("tensorrt", "--format tensorrt", "tensorrt")
    onnx_file = path.with_suffix(".onnx")
    try:
        write_onnx(graph, metadata, onnx_file)
        engine = _built(trt, onnx_file.read_bytes(), graph, half, size)
    finally:
        onnx_file.unlink(missing_ok=True)
    path.write_bytes(engine)
    with zipfile.ZipFile(path, "a") as archive:
        for key, text in metadata.items():
            archive.writestr(zipfile.ZipInfo(key), text)


def _built(trt: Any, onnx: bytes, graph: Graph, half: bool, size: tuple[int, int]) -> bytes:
    """The bytes of an engine.

    Raises:
        InputError: TensorRT cannot build it.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx):
        why = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise InputError(f"--format tensorrt: TensorRT cannot read the graph: {why}", "use onnx")
    config = builder.create_builder_config()
    if half:
        config.set_flag(trt.BuilderFlag.FP16)
    profile, longest = builder.create_optimization_profile(), max(_LONGEST, *size)
    least, most = (1, graph.channels, 1, 1), (_MOST_IMAGES, graph.channels, longest, longest)
    profile.set_shape(graph.input, least, (1, graph.channels, *size), most)
    config.add_optimization_profile(profile)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise InputError("--format tensorrt: TensorRT built no engine of the graph", "use onnx; its log says more")
    return bytes(built)
