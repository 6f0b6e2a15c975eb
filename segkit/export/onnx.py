"""Model -> ONNX: one image of any size in; boxes, labels, scores and small masks, or the maps of a U-Net, out.

The graph does not paste masks into the image: ``segkit.models.tensors`` does that faster on the CPU. PyTorch's
TorchScript exporter is used, as the newer one (dynamo) cannot trace torchvision's data-dependent NMS (vision#9306).
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.export.onnx_model import CARD_KEY, output_names
from segkit.models.card import ModelCard
from segkit.models.input_channels import statistics
from segkit.models.unet import maps_of

_OPSET = 17  # RoIAlign with half-pixel coordinates needs 16
_EXAMPLE = (200, 264)  # height and width to trace with; the graph takes any


class _Detector(nn.Module):
    """A detector for one image, with its outputs in a fixed order."""

    def __init__(self, model: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        prediction = self.model([image])[0]
        return tuple(prediction[name] for name in self.outputs)


class _LabelMap(nn.Module):
    """A U-Net for one image of any size; the graph pads it, and crops the output."""

    def __init__(self, model: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.model, self.instances = model, card.unet.instances
        mean, std = statistics(card.channels)
        self.mean = nn.Buffer(torch.tensor(mean)[:, None, None])
        self.std = nn.Buffer(torch.tensor(std)[:, None, None])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        height, width = image.shape[-2:]
        normalised = ((image.float() / 255 - self.mean) / self.std)[None]
        padded = F.pad(normalised, (0, (-width) % 32, 0, (-height) % 32))
        maps = maps_of(self.model.logits(padded)[0], self.instances)  # type: ignore[operator]
        maps = maps[:, :height, :width]
        return (maps,) if self.instances == "components" else (maps[:-1], maps[-1])


def write_onnx(model: nn.Module, card: ModelCard, path: Path) -> None:
    """Trace a model and write it, with its model card in the metadata.

    Args:
        model: In evaluation mode, on the CPU, in fp32.
        card: The model card.
        path: File to write.
    """
    outputs = output_names(card)
    if card.framing.kind == "instances":
        graph: nn.Module = _Detector(model, outputs)
        axes: dict[str, dict[int, str]] = {name: {0: "instances"} for name in outputs}
    else:
        graph = _LabelMap(model, card)
        axes = {"probabilities": {1: "height", 2: "width"}, "distances": {0: "height", 1: "width"}}
        axes = {name: axes[name] for name in outputs}
    size = card.channels, *_EXAMPLE
    example = torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            graph.eval(),
            (example,),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={"image": {1: "height", 2: "width"}} | axes,
        )
    proto = onnx.load(str(path))
    onnx.helper.set_model_props(proto, {CARD_KEY: json.dumps(card.to_plain())})
    onnx.save(proto, str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings of its age and of constants: the exported file is run and compared instead."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
