"""Networks made for red, green and blue, with other channels: their first convolution is adapted."""

from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RGB = 3


def adapted(weight: Tensor, channels: int) -> Tensor:
    """The weights of a first convolution [O, 3, k, k] for other channels, [O, C, k, k].

    Grey gets the sum over the colours, so that it gives what three equal colours gave. Several channels get the
    weights of the colours in turn, times 3 / C, so that sums stay as large (as timm does).
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [number % _RGB for number in range(channels)]] * (_RGB / channels)


def first_convolution(body: nn.Module) -> str:
    """The name of the first convolution's weights."""
    name = next(name for name, layer in body.named_modules() if isinstance(layer, nn.Conv2d))
    return f"{name}.weight"


def take_channels(body: nn.Module, channels: int) -> None:
    """Adapt a network in place."""
    if channels == _RGB:
        return
    layer = next(layer for layer in body.modules() if isinstance(layer, nn.Conv2d))
    layer.weight = nn.Parameter(adapted(layer.weight.detach(), channels))
    layer.in_channels = channels


def statistics(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that each channel is normalised by: ImageNet's, in turn; for grey their means."""
    if channels == 1:
        return (sum(IMAGENET_MEAN) / _RGB,), (sum(IMAGENET_STD) / _RGB,)
    mean, std = (tuple(each[number % _RGB] for number in range(channels)) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std
