"""Looks into an ONNX file before it is run: what it may read besides itself, and how large it may be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from segkit.errors import InputError
from segkit.runtimes.exported import DAMAGED

_MOST_BYTES = 2 << 30  # protobuf's own limit


def check_onnx(path: Path) -> None:
    """Check that a file is an ONNX graph, and that its weights are in it or beside it.

    Raises:
        InputError: It is none, is too large, or names files that are not in its folder.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: larger than 2 GiB, which no ONNX file can be")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors derive from nothing useful
        raise InputError(f"{path}: not an ONNX file that can be run", DAMAGED) from error
    for location, end in _external(proto):
        target = (path.parent / location).resolve()
        if not location or Path(location).is_absolute() or not target.is_relative_to(path.parent.resolve()):
            raise InputError(f"{path}: reads {location!r}, which is not in its folder", "use the file from its maker")
        if not target.is_file():
            raise InputError(f"{path}: its weights are not beside it: {location}", "copy both files")
        if target.stat().st_size < end:
            raise InputError(f"{path}: its weights are cut off: {location}", "copy both files")


def _external(proto: Any) -> Iterator[tuple[str, int]]:
    """The files that tensors of a model are in, and where each tensor ends."""
    graphs = [proto.graph, *proto.functions]
    while graphs:
        graph = graphs.pop()
        tensors = list(getattr(graph, "initializer", ()))
        for sparse in getattr(graph, "sparse_initializer", ()):
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors, attribute.sparse_tensor.values]
                graphs += [each for each in (attribute.g, *attribute.graphs) if each.node or each.initializer]
        for tensor in tensors:
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                entries = {entry.key: entry.value for entry in tensor.external_data}
                numbers = (entries.get(key, "") for key in ("offset", "length"))
                yield entries.get("location", ""), sum(int(text) for text in numbers if text.isdecimal())
