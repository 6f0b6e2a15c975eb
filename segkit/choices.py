"""Names of models, backbones, optimisers and the like, as the options take them."""

from typing import Literal

ModelName = Literal["maskrcnn", "fasterrcnn", "unet"]

BackboneName = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101",
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "efficientnet_lite0", "efficientnet_lite2",
    "convnext_tiny", "convnext_small",
    "plain",
]  # fmt: skip

HeadsName = Literal["v1", "v2"]

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

ExportFormat = Literal["onnx", "torchscript", "pt2", "safetensors", "openvino", "litert", "tensorrt"]
