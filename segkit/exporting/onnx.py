"""Model -> ONNX, by PyTorch's TorchScript exporter.

The graph does not paste masks into the image: ``segkit.models.tensors`` does that faster on the CPU. Tracing takes 4 s
where ``torch.export``, on which the newer exporter (dynamo) stands, takes a minute for a detector.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from segkit.exporting.graphs import Graph

_OPSET = 17  # RoIAlign with half-pixel coordinates needs 16


def write_onnx(graph: Graph, metadata: dict[str, str], path: Path) -> None:
    """Trace a model and write it.

    Args:
        graph: The model.
        metadata: Of the file.
        path: File to write.
    """
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
    proto = onnx.load(str(path))
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, str(path))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence an exporter's warnings of its age and of constants: the exported file is run and compared instead."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
