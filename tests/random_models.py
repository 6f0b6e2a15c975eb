"""Models with random weights, for tests of what becomes of predictions: no training is needed."""

from dataclasses import replace

import torch

from segkit.data.geometry import Framing
from segkit.data.records import Category
from segkit.models.card import ModelCard
from segkit.models.detector import DetectorSettings
from segkit.models.panoptic_settings import PanopticSettings
from segkit.models.rfdetr_settings import RFDETRSettings
from segkit.runs.checkpoint import save_checkpoint

SETTINGS = DetectorSettings(proposals=40, rois=16, detections=20, anchor_sizes=(8, 16, 32, 64, 128))
TINY_RFDETR = RFDETRSettings(
    grid_size=48, num_windows=2, decoder_layers=2, num_queries=12, patch_size=8, hidden_size=32, num_hidden_layers=3,
    num_attention_heads=2, out_indices=(1, 3), group_detr=2, d_model=32, self_attention_heads=4,
    cross_attention_heads=4, decoder_n_points=2, decoder_ffn_dim=64, intermediate_size=64,
)  # fmt: skip
CATEGORIES = (Category(1, "a"), Category(2, "b"))


def card_of(name, norm="batch", settings=SETTINGS, categories=CATEGORIES):
    if name == "pointrend":
        name, settings = "maskrcnn", replace(settings, mask_head="pointrend", mask_size=56, aligned_masks=True)
    if name == "second version":
        levels = {"fpn_levels": (2, 3, 4), "anchor_sizes": (8, 16, 32, 64)}
        name, settings = "maskrcnn", replace(settings, head_norm="batch", **levels)
    framing = Framing("semantic" if name == "unet" else "instances", 64, 96)
    if name == "rfdetr":
        settings = replace(settings, nms=1.0, aligned_masks=True)
        return ModelCard(
            name, "dinov2", "frozen", "ce+dice", settings, framing, categories, "background", rfdetr=TINY_RFDETR
        )
    stuff = PanopticSettings((1,)) if name == "panoptic" else None
    return ModelCard(name, "resnet18", norm, "ce+dice", settings, framing, categories, "background", panoptic=stuff)


def sharp(card):
    """A model whose scores differ clearly, so that rounding does not change their order."""
    torch.manual_seed(3)
    module = card.build().eval()
    with torch.no_grad():
        if card.model == "unet":
            module.head.weight.mul_(8)
        elif card.model == "condinst":
            module.head.classification_head.cls_logits.weight.mul_(30)
            module.head.regression_head.bbox_reg.weight.mul_(30)
            module.head.controller.weight.mul_(5)
        elif card.model == "solov2":
            module.head.labels.weight.mul_(10)
            module.head.labels.bias.fill_(-1.0)
            module.head.kernels.weight.mul_(10)
        elif card.model == "rfdetr":
            for head in (module.network.model.class_embed, module.network.model.model.enc_out_class_embed[0]):
                head.weight.mul_(30)
                head.bias.fill_(0.0)
            module.network.model.bbox_embed.layers[-1].weight.normal_(std=0.3)
            module.network.model.bbox_embed.layers[-1].bias[2:] = 2.0
            module.network.query_features_proj.weight.mul_(10)
        else:
            module.rpn.head.cls_logits.weight.mul_(40)
            module.rpn.head.bbox_pred.weight.mul_(5)
            module.roi_heads.box_predictor.cls_score.weight.mul_(30)
            if card.settings.mask_head == "pointrend":
                for layer in (
                    module.roi_heads.mask_head.coarse.prediction,
                    module.roi_heads.mask_head.points.predictor,
                ):
                    layer.weight.normal_(std=0.3)
    return module


def checkpoint(path, card):
    """A checkpoint of such a model, as a training writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, {"card": card.to_plain(), "model": sharp(card).state_dict(), "step": 1})
    return path
