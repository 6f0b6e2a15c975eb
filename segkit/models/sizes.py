"""Numbers of models that are needed where no model is built, so without PyTorch: strides, frames, widths of layers."""

from typing import NamedTuple

STRIDES = (2, 4, 8, 16, 32)
DEFAULT_EPS = 1e-5  # torch's: what norms add to variances


class Width(NamedTuple):
    """The channels of a layer that has fewer than its architecture.

    Attributes:
        layer: Its name in the model.
        outputs: Output channels; 0: as many as the architecture has, as those of heads for the categories.
        inputs: Input channels, likewise.
    """

    layer: str
    outputs: int
    inputs: int


def padded_frame(height: int, width: int) -> tuple[int, int]:
    """The frame that a model pads an image to: sides that the deepest stride divides."""
    return -(-height // STRIDES[-1]) * STRIDES[-1], -(-width // STRIDES[-1]) * STRIDES[-1]
