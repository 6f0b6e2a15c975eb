"""A model from its card."""

from typing import assert_never

from torch import nn

from segkit.models.card import ModelCard
from segkit.models.condinst import CondInst
from segkit.models.detector import Detector
from segkit.models.panoptic import PanopticFPN
from segkit.models.quantised import quantise_layers
from segkit.models.rfdetr import RFDETR
from segkit.models.solov2 import SOLOv2
from segkit.models.unet import UNet
from segkit.models.widths import narrow

InstanceModel = Detector | CondInst | SOLOv2 | RFDETR
"""The models that find instances."""


def build_model(card: ModelCard) -> nn.Module:
    """The model of a card, with random weights.

    All models are called alike: ``model(images, targets) -> {loss name: scalar}`` in training,
    ``model(images) -> list[Prediction]`` in evaluation, with images as uint8 [C, H, W] each; C is 3 but for U-Nets.

    Raises:
        ValueError: The widths are not those of layers that it has.
    """
    model = _whole(card)
    narrow(model, card.widths)
    if card.quantised:
        quantise_layers(model)
    return model


def _whole(card: ModelCard) -> nn.Module:
    """The model with all channels of its architecture."""
    num_classes = len(card.categories) + 1  # and background
    match card.model:
        case "maskrcnn" | "fasterrcnn":
            masks = card.model == "maskrcnn"
            return Detector(num_classes, card.backbone, card.norm, card.settings, masks=masks, norm_eps=card.norm_eps)
        case "panoptic":
            assert card.panoptic is not None
            return PanopticFPN(
                num_classes, card.backbone, card.norm, card.settings, card.panoptic, norm_eps=card.norm_eps
            )
        case "condinst":
            return CondInst(num_classes, card.backbone, card.norm, card.settings, card.norm_eps)
        case "solov2":
            return SOLOv2(num_classes, card.backbone, card.norm, card.settings, card.norm_eps)
        case "rfdetr":
            if card.rfdetr is None:
                raise ValueError("the card of an RF-DETR without its numbers")
            return RFDETR(num_classes, card.settings, card.rfdetr, card.framing.size)
        case "unet":
            return UNet(num_classes, card.backbone, card.norm, card.loss, card.norm_eps, card.unet, card.channels)
        case _:
            assert_never(card.model)
