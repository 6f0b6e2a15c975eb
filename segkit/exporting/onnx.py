"""Model -> ONNX, by either of PyTorch's exporters.

The graph does not paste masks into the image: ``segkit.models.tensors`` does that faster on the CPU. The older exporter
traces (TorchScript), and takes 4 s where ``torch.export``, on which the newer one (dynamo) stands, takes a minute for a
detector. The graphs give the same outputs.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch

from segkit.choices import Exporter
from segkit.exporting.graphs import Graph
from segkit.exporting.suppression import suppression_as_node, suppression_node, suppression_operator
from segkit.extras import extra_package
from segkit.quiet import without_stdout, without_warnings
from segkit.runtime.torch_private import export_with_sides_of_one

_one_exporter = threading.RLock()  # PyTorch's exporters, and the level of logging, are of the whole process
_OPSET = 17  # RoIAlign with half-pixel coordinates needs 16


def write_onnx(graph: Graph, metadata: dict[str, str], path: Path, exporter: Exporter = "torchscript") -> None:
    """Write a model.

    Args:
        graph: The model; for dynamo, one that takes a batch.
        metadata: Of the file.
        path: File to write.
        exporter: Which of PyTorch's exporters writes it.
    """
    if exporter == "dynamo":
        _write_program(graph, path)
    else:
        _write_trace(graph, path)
    proto = onnx.load(str(path))
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, str(path))


def _write_program(graph: Graph, path: Path) -> None:
    opset = extra_package("onnxscript", "--exporter dynamo", "dynamo").opset18
    with quiet(), torch.no_grad(), suppression_as_node():
        suppression_operator()  # before it is named in the table
        program = torch.onnx.export(
            program_of(graph),
            dynamo=True,
            opset_version=18,
            input_names=[graph.input],
            output_names=graph.outputs,
            custom_translation_table={torch.ops.segkit.suppress.default: suppression_node(opset)},
            verbose=False,
        )
        assert program is not None
        program.save(str(path))


def program_of(graph: Graph) -> torch.export.ExportedProgram:
    """The program of a graph with a free batch, height and width."""
    dimensions: Any = dict.fromkeys(graph.free[graph.input], torch.export.Dim.DYNAMIC)
    with quiet(), torch.no_grad(), export_with_sides_of_one():
        return torch.export.export(graph.module, (graph.example,), dynamic_shapes=(dimensions,), strict=False)


def _write_trace(graph: Graph, path: Path) -> None:
    with quiet(), torch.no_grad():
        torch.onnx.export(
            graph.module,
            (graph.example,),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=[graph.input],
            output_names=graph.outputs,
            dynamic_axes=graph.free,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence an exporter's warnings of its age and of constants: the exported file is run and compared instead."""
    with _one_exporter, without_warnings(), without_stdout():
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
