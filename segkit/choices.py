"""Names of models, backbones, optimisers and the like, as the options take them."""

from dataclasses import dataclass
from typing import Literal

ModelName = Literal["maskrcnn", "fasterrcnn", "panoptic", "condinst", "solov2", "rfdetr", "unet"]

BackboneName = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101",
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "efficientnet_lite0", "efficientnet_lite2",
    "convnext_tiny", "convnext_small",
    "plain",
    "dinov2",
]  # fmt: skip

HeadsName = Literal["v1", "v2"]

VariantName = Literal["nano", "small", "medium"]
"""Published sizes of RF-DETR-Seg."""

MaskHeadName = Literal["conv", "pointrend"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]

OptimizerName = Literal["sgd", "adamw", "adam", "rmsprop", "adagrad"]

ScheduleName = Literal["step", "cosine", "poly", "onecycle", "constant"]

NormName = Literal["batch", "sync", "group", "frozen"]

AugmentLevel = Literal["none", "light", "medium", "heavy"]

LossName = Literal["ce", "dice", "focal", "tversky", "lovasz", "cldice"]
"""Losses of a U-Net; `--loss` takes sums of them (``segkit.config.parsers.loss_terms``)."""

InstancesName = Literal["components", "distance"]

Initialisation = Literal["default", "kaiming", "xavier", "orthogonal"]

ImagePlacement = Literal["link", "copy", "reference", "none"]

EngineName = Literal["fast", "pycocotools"]

ScoringTool = Literal["ultralytics", "detectron2", "torchvision"]
"""Tools whose rules of scoring ``eval --as`` applies."""

ExportFormat = Literal["onnx", "torchscript", "pt2", "safetensors", "openvino", "litert", "tensorrt"]

Exporter = Literal["torchscript", "dynamo"]
"""PyTorch's exporters of ONNX: the one that traces, and the one of ``torch.export``."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is to be known of a model architecture without building one.

    Attributes:
        options: The options of ``train`` that it takes, of those that only some models have.
        masks: Whether it predicts a mask for every instance; else boxes only.
        pixels: Whether it predicts a label for every pixel, and learns from label maps.
        regions: Whether it proposes regions, and looks at each (two stages).
        stuff: Whether it also finds stuff, regions without instances, so that each pixel is of one segment.
        nms: The IoU above which one of two detections is dropped, by default.
        queries: Whether it finds instances by a fixed number of queries, in squares of one size, on a feature extractor
            and with norms of its own (a transformer).
        extends: The model that it has all layers of, so that it may start from the weights of one.
    """

    options: tuple[str, ...]
    masks: bool = True
    pixels: bool = False
    regions: bool = False
    stuff: bool = False
    nms: float = 0.5
    queries: bool = False
    extends: ModelName | None = None


_TWO_STAGES = (
    "heads", "anchor_sizes", "anchor_ratios", "fpn_levels", "roi_size", "roi_sampling", "proposals", "rois",
    "detections", "nms",
)  # fmt: skip

ARCHITECTURES: dict[ModelName, Architecture] = {
    "maskrcnn": Architecture((*_TWO_STAGES, "mask_head", "mask_size"), regions=True),
    "fasterrcnn": Architecture(_TWO_STAGES, masks=False, regions=True),
    "panoptic": Architecture(
        (*_TWO_STAGES, "mask_head", "mask_size", "stuff", "semantic_weight"),
        regions=True,
        stuff=True,
        extends="maskrcnn",
    ),
    "condinst": Architecture(("rois", "detections", "nms", "mask_size"), nms=0.6),
    "solov2": Architecture(("rois", "detections", "mask_size")),
    "rfdetr": Architecture(("variant", "detections", "nms", "mask_size"), nms=1.0, queries=True),
    "unet": Architecture(("instances", "channels", "class_weights", "label_smoothing", "dropout"), pixels=True),
}
"""The one place that says what kind of model a name means; ``ModelCard.build`` says what it is made of."""
