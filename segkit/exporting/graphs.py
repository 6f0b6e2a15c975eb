"""A trained model as a module of tensors alone, in the form that every writer of a format takes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segkit.exporting.detector_graph import DetectorGraph, PanopticGraph, has_graph, pad
from segkit.models.card import ModelCard
from segkit.models.detector import Detector
from segkit.models.input_channels import statistics
from segkit.models.panoptic import PanopticFPN
from segkit.models.rfdetr import RFDETR
from segkit.runtimes.exported import output_names

BATCH, ONE = "images", "image"  # the names of the inputs of graphs that take a batch, and of those that take one image
_EXAMPLE = (200, 264)  # height and width to trace with; graphs take any


@dataclass(frozen=True, slots=True)
class Graph:
    """What is written.

    Attributes:
        module: Maps an input to a tuple of outputs.
        input: ``images``: uint8 [B, C, H, W], of one size; or ``image``: uint8 [C, H, W].
        outputs: The names of the outputs.
        free: By the name of an input or output, the names of the dimensions that are free, by their places.
        channels: Of the images.
    """

    module: nn.Module
    input: str
    outputs: list[str]
    free: dict[str, dict[int, str]]
    channels: int = 3

    @property
    def example(self) -> Tensor:
        """An input."""
        generator = torch.Generator().manual_seed(0)
        shape = (2, self.channels, *_EXAMPLE) if self.input == BATCH else (self.channels, *_EXAMPLE)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


class _OneImage(nn.Module):
    """A detector without a graph of its own, as it traces: for one image, with its outputs in a fixed order."""

    def __init__(self, model: nn.Module, outputs: list[str]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        prediction = self.model([image])[0]
        return tuple(prediction[name] for name in self.outputs)


class _LabelMaps(nn.Module):
    """A U-Net for images of any size; the graph pads them, and crops the output."""

    def __init__(self, model: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.model, self.instances = model, card.unet.instances
        mean, std = statistics(card.channels)
        self.mean = nn.Buffer(torch.tensor(mean)[:, None, None])
        self.std = nn.Buffer(torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        height, width = images.shape[-2], images.shape[-1]
        padded = pad((images.float() / 255 - self.mean) / self.std)
        logits = self.model.logits(padded)[..., :height, :width]  # type: ignore[operator]  # an nn.Module's attributes are modules to mypy
        if self.instances == "components":
            return (_softmax(logits),)
        return _softmax(logits[:, :-1]), logits[:, -1].sigmoid()


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the channels of [B, C, H, W], as its steps.

    ONNX Runtime has the operator for the last dimension alone: for another one it copies all values there and back, and
    then takes short rows one by one. This is five times as fast (docs/benchmarks.md).
    """
    powers = (logits - logits.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


def graph_of(model: nn.Module, card: ModelCard) -> Graph:
    """The graph of a model.

    Args:
        model: In evaluation mode, on the CPU, in fp32.
        card: Its card.
    """
    outputs = output_names(card)
    if card.framing.kind == "semantic":
        free = {name: {0: "batch", 2: "height", 3: "width"} for name in (BATCH, "probabilities")}
        if "distances" in outputs:
            free["distances"] = {0: "batch", 1: "height", 2: "width"}
        return Graph(_LabelMaps(model, card).eval(), BATCH, outputs, free, card.channels)
    if isinstance(model, Detector) and has_graph(model):
        outputs = [*outputs, "images_of"]
        free = {BATCH: {0: "batch", 2: "height", 3: "width"}, **{name: {0: "instances"} for name in outputs}}
        if isinstance(model, PanopticFPN):
            free["classes"] = {0: "batch", 2: "rows", 3: "columns"}
            return Graph(PanopticGraph(model).eval(), BATCH, outputs, free)
        return Graph(DetectorGraph(model).eval(), BATCH, outputs, free)
    if isinstance(model, RFDETR):
        model.fix_positions()
    free = {ONE: {1: "height", 2: "width"}, **{name: {0: "instances"} for name in outputs}}
    if "classes" in outputs:
        free["classes"] = {1: "rows", 2: "columns"}
    return Graph(_OneImage(model, outputs).eval(), ONE, outputs, free)
