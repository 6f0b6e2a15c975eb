"""Smaller and faster ONNX files: 16 bits, 8 bits, fewer nodes."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from torch import Tensor

from segkit.data.records import Dataset
from segkit.errors import InputError
from segkit.exporting.calibrate import calibrate
from segkit.exporting.onnx import quiet
from segkit.exporting.quantise import has_connected_layers, quantise, quantise_weights
from segkit.exporting.score_check import score_of
from segkit.exporting.sensitive_parts import ranked_parts
from segkit.extras import extra_package
from segkit.progress import Progress
from segkit.runtimes.onnx_model import OnnxModel

_EQUAL = 1e-5  # of outputs of a simplified graph
_IN_FP32 = ("RoiAlign", "Softmax", "Sigmoid", "Exp", "Div", "Range", "Sqrt", "Log")  # places of boxes need 32 bits
_FIRST = 2  # parts nearest to the image
_LEFT_OUT = (1, 2, 4, 8)  # numbers of parts that are tried


def in_half(path: Path) -> None:
    """Put the weights and features of an ONNX file in 16 bits; boxes and scores stay in 32."""
    proto = onnx.load(str(path))
    blocked = [*DEFAULT_OP_BLOCK_LIST, *_IN_FP32]
    outside = [node.name for node in proto.graph.node if not _is_in_model(node.name)]
    with quiet():
        half = convert_float_to_float16(proto, keep_io_types=True, op_block_list=blocked, node_block_list=outside)
    onnx.save(half, str(path))


def _is_in_model(name: str) -> bool:
    """Whether a node is in a layer of the model, and not between layers."""
    return name.count("/") > 1


def simplified(path: Path, images: Sequence[Tensor]) -> tuple[int, int] | None:
    """Simplify an ONNX file by onnxslim, and keep the result if its outputs are equal.

    Args:
        path: The file.
        images: uint8 [3, H, W] each, on which the outputs are compared.

    Returns:
        The number of nodes before and after; None where the outputs differ, and the file stays as it was.

    Raises:
        InputError: onnxslim is not installed.
    """
    onnxslim = extra_package("onnxslim", "--simplify", "simplify")
    before = onnx.load(str(path))
    slim = path.with_suffix(".slim.onnx")
    with quiet():
        after = onnxslim.slim(onnx.load(str(path)))
    del after.metadata_props[:]
    after.metadata_props.extend(before.metadata_props)
    onnx.save(after, str(slim))
    if not _equal(path, slim, images):
        slim.unlink()
        return None
    slim.replace(path)
    return len(before.graph.node), len(after.graph.node)


def _equal(one: Path, other: Path, images: Sequence[Tensor]) -> bool:
    sessions = [ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (one, other)]
    name = sessions[0].get_inputs()[0].name
    for image in images:
        given = {name: np.ascontiguousarray((image if name == "image" else image[None]).numpy())}
        found: list[list[Any]] = [session.run(None, given) for session in sessions]
        for a, b in zip(*found, strict=True):
            if a.shape != b.shape or not np.allclose(a, b, rtol=_EQUAL, atol=_EQUAL):
                return False
    return True


def in_8_bits(
    path: Path, images: Sequence[Tensor] | None, dataset: Dataset, least: float, progress: Progress
) -> tuple[str, ...]:
    """Put an ONNX file in 8 bits; parts that lose too much are found by measurement and left out.

    Args:
        path: The file, which is replaced.
        images: To calibrate on; None: only the weights of fully connected layers.
        dataset: To score on.
        least: The score to reach. Where it is not reached, the two parts nearest to the image are left out; then the
            part that changes answers most, and two, four and eight of them; where none of this reaches it, what scores
            best is kept.
        progress: Shows what is done.

    Returns:
        The parts that are left out.

    Raises:
        InputError: It has nothing that can be in 8 bits without images.
    """
    out = path.with_suffix(".int8.onnx")
    if images is None:
        if not has_connected_layers(path):
            raise InputError(
                "--int8: the model has no fully connected layers, to which dynamic quantisation is limited here",
                "name images to calibrate on: --calibrate DATASET",
            )
        quantise_weights(path, out)
        out.replace(path)
        return ()
    progress.start("calibrating", None)
    calibrated = calibrate(path, images)
    progress.done()
    metadata = list(onnx.load(str(path)).metadata_props)

    def write(left_out: Sequence[str]) -> None:
        quantise(calibrated, left_out, out)
        _with_metadata(out, metadata)

    def scored(left_out: Sequence[str]) -> float:
        write(left_out)
        exported = OnnxModel(out)
        return score_of(exported, exported.card, dataset, progress)[1]

    ranked = functools.cache(lambda: ranked_parts(calibrated, images))
    candidates = _candidates(list(calibrated.nodes.parts), ranked)
    left_out, is_written = _sensitive(scored, candidates, least, progress)
    if not is_written:
        write(left_out)
    out.replace(path)
    calibrated.path.unlink(missing_ok=True)
    return left_out


def _sensitive(
    scored: Callable[[Sequence[str]], float],
    candidates: Iterable[tuple[str, ...]],
    least: float,
    progress: Progress,
) -> tuple[tuple[str, ...], bool]:
    """The parts that must not be in 8 bits, for a score; and whether it is they that were scored last.

    Args:
        scored: The score without parts.
        candidates: Parts that may be left out together, to be tried in this order.
        least: The score to reach.
        progress: Shows what is done.
    """
    best: tuple[str, ...] = ()
    tried, found = best, scored(best)
    most = found
    for parts in candidates if found < least else ():
        progress.note(f"in 8 bits the score is {found:.4f}, and should be {least:.4f}: leaving out {', '.join(parts)}")
        tried, found = parts, scored(parts)
        if found > most:
            best, most = tried, found
        if found >= least:
            break
    return best, best == tried


def _candidates(parts: Sequence[str], ranked: Callable[[], Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Parts that may be left out: those nearest to the image, then those that change answers most.

    The first ones have few channels, and all that follows reads what they make of the image.

    Args:
        parts: All, in the order of the model.
        ranked: Gives them in the order of what they change, which takes time.
    """
    if len(parts) > _FIRST:
        yield tuple(parts[:_FIRST])
    for count in _LEFT_OUT:
        if count < len(parts):
            yield tuple(ranked()[:count])


def _with_metadata(path: Path, metadata: Sequence[Any]) -> None:
    proto = onnx.load(str(path))
    del proto.metadata_props[:]
    proto.metadata_props.extend(metadata)
    onnx.save(proto, str(path))
