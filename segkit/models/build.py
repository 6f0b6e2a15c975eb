"""Build models by name."""

from typing import assert_never

from torch import nn

from segkit.choices import BackboneName, ModelName, NormName, UnetLoss
from segkit.models.detector import Detector, DetectorSettings
from segkit.models.unet import UNet


def build_model(
    name: ModelName,
    *,
    num_classes: int,
    backbone: BackboneName,
    norm: NormName,
    loss: UnetLoss,
    settings: DetectorSettings,
) -> nn.Module:
    """A model with random weights.

    All models are called alike: ``model(images, targets) -> {loss name: scalar}`` in training,
    ``model(images) -> list[Prediction]`` in evaluation, with images as uint8 [3, H, W] each.

    Args:
        name: Architecture.
        num_classes: Categories plus one for background.
        backbone: Feature extractor.
        norm: Its normalisation.
        loss: Loss of a U-Net.
        settings: Plain numbers of a detector.
    """
    match name:
        case "maskrcnn" | "fasterrcnn":
            return Detector(
                masks=name == "maskrcnn",
                num_classes=num_classes,
                backbone=backbone,
                norm=norm,
                settings=settings,
            )
        case "unet":
            return UNet(num_classes, backbone, norm, loss)
        case _:
            assert_never(name)
