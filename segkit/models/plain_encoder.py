"""The contracting path of the U-Net's own paper."""

from collections.abc import Callable

from torch import nn

WIDTHS = (64, 128, 256, 512, 1024)


class PlainEncoder(nn.Sequential):
    """Two convolutions at each of five scales, each scale half of the one before (Ronneberger et al. 2015, figure 1).

    Convolutions are padded, so that maps keep the size of the image, and have norms; the paper's have neither
    (https://arxiv.org/abs/1505.04597). There are no pretrained weights.
    """

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        """Build with random weights.

        Args:
            norm: Makes a norm of so many channels.
        """
        super().__init__()
        inputs = 3
        for level, width in enumerate(WIDTHS, 1):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if level > 1 else []
            for before in (inputs, width):
                layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), norm(width), nn.ReLU(inplace=True)]
            self.add_module(f"level{level}", nn.Sequential(*layers))
            inputs = width
