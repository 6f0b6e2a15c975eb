"""Non-maximum suppression in rows, as one node of every graph.

ONNX has an operator for rows of boxes. Elsewhere torchvision's is called for all rows at once, which are moved apart so
that boxes of different rows do not meet; in 64 bits, so that this changes no overlap.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms

_as_node = ContextVar("_as_node", default=False)


def suppress(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
    """Which boxes are kept, bool [G, N]: those that no better one of their row overlaps.

    Args:
        boxes: [G, N, 4], without negative coordinates.
        scores: [G, N].
        iou: Of two that overlap more, the one of the lower score is left out.
        least: Only boxes with a higher score are looked at.
        most: At most so many of a row are needed, the best ones.
    """
    if _as_node.get() or torch.onnx.is_in_onnx_export():
        operator = suppression_operator() if _as_node.get() else _OnnxSuppression.apply
        chosen = operator(boxes, scores, iou, least, most)  # [S, 3]: row, 0, place
        row, place = chosen[:, 0], chosen[:, 2]
    else:
        row, place = _in_all_rows(boxes, scores, iou, least)
    kept = torch.zeros_like(scores, dtype=torch.bool)
    return kept.index_put((row, place), torch.ones_like(row, dtype=torch.bool))


def _in_all_rows(boxes: Tensor, scores: Tensor, iou: float, least: float) -> tuple[Tensor, Tensor]:
    """Rows and places of the boxes that are kept.

    torchvision tells ``torch.export`` that two boxes or more are kept, which programs assert: so there are two more,
    left of all others.
    """
    row, place = torch.where(scores > least)
    wide = boxes[row, place].double()
    apart = row.double() * (boxes.detach().abs().amax().double() * 2 + 1)
    others = wide.new_tensor([[-3.0, -3.0, -2.0, -2.0], [-6.0, -6.0, -5.0, -5.0]])
    lowest = wide.new_full((2,), least)
    kept = nms(torch.cat([wide + apart[:, None], others]), torch.cat([scores[row, place].double(), lowest]), iou)
    kept = kept[kept < row.shape[0]]
    return row[kept], place[kept]


@contextmanager
def suppression_as_node() -> Iterator[None]:
    """Within it, a program of ``torch.export`` has ONNX's operator as one node."""
    token = _as_node.set(True)
    try:
        yield
    finally:
        _as_node.reset(token)


@functools.cache
def suppression_operator() -> Any:
    """ONNX's operator as one of torch's: ``segkit::suppress``, with the same indices in another order."""

    @torch.library.custom_op("segkit::suppress", mutates_args=())
    def operator(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
        row, place = _in_all_rows(boxes, scores, iou, least)
        return torch.stack([row, torch.zeros_like(row), place], dim=1)

    @operator.register_fake
    def _(boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
        return scores.new_empty((torch.library.get_ctx().new_dynamic_size(), 3), dtype=torch.int64)

    return operator


def suppression_node(operators: Any) -> Callable[..., Any]:
    """How the newer ONNX exporter writes ``segkit::suppress``.

    Args:
        operators: An opset of onnxscript.
    """

    def node(boxes: Any, scores: Any, iou: float, least: float, most: int) -> Any:
        one_class = operators.Unsqueeze(scores, operators.Constant(value_ints=[1]))
        constants = (
            operators.Constant(value_ints=[most]),
            *(operators.Constant(value_floats=[v]) for v in (iou, least)),
        )
        return operators.NonMaxSuppression(boxes, one_class, *constants)

    return node


class _OnnxSuppression(torch.autograd.Function):
    """ONNX's operator; in torch, the same indices in another order."""

    @staticmethod
    def forward(context: Any, boxes: Tensor, scores: Tensor, iou: float, least: float, most: int) -> Tensor:
        """Indices [S, 3]: row, 0, place."""
        row, place = _in_all_rows(boxes, scores, iou, least)
        return torch.stack([row, torch.zeros_like(row), place], dim=1)

    @staticmethod
    def symbolic(graph: Any, boxes: Any, scores: Any, iou: float, least: float, most: int) -> Any:
        """The node."""
        constants = (
            graph.op("Constant", value_t=torch.tensor([value], dtype=kind))
            for value, kind in ((most, torch.int64), (iou, torch.float32), (least, torch.float32))
        )
        one = graph.op("Constant", value_t=torch.tensor([1], dtype=torch.int64))
        return graph.op("NonMaxSuppression", boxes, graph.op("Unsqueeze", scores, one), *constants)
