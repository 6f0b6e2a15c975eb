"""The names of layers in files of weights that others wrote, as segkit's models have them (torchvision's)."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from segkit.choices import HeadsName
from segkit.models.backbones import STD

State = dict[str, Tensor]

_WRAPPERS = ("module.", "model.", "net.", "network.")  # of DataParallel, Lightning and the like
_COMPILED = "_orig_mod."
_IN_LITE = "_conv_stem.weight"
_COCO_LABELS = 91

Replacement = str | Callable[[re.Match[str]], str]

# Before 0.14 torchvision's blocks had no index of their own (FeaturePyramidNetwork, RPNHead, MaskRCNNHeads).
_OLD_TORCHVISION: list[tuple[str, Replacement]] = [
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0."),
]

# detectron2/modeling: its ResNet counts stages from res2, its pyramid levels from 2.
_DETECTRON2: list[tuple[str, Replacement]] = [
    (r"^backbone\.bottom_up\.stem\.conv1\.norm\.", "backbone.body.bn1."),
    (r"^backbone\.bottom_up\.stem\.conv1\.", "backbone.body.conv1."),
    (r"^backbone\.bottom_up\.res(\d)\.", lambda m: f"backbone.body.layer{int(m[1]) - 1}."),
    (r"^(backbone\.body\.layer\d\.\d+)\.conv(\d)\.norm\.", r"\1.bn\2."),
    (r"^(backbone\.body\.layer\d\.\d+)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(backbone\.body\.layer\d\.\d+)\.shortcut\.", r"\1.downsample.0."),
    (r"^backbone\.fpn_lateral(\d)\.", lambda m: f"backbone.fpn.inner_blocks.{int(m[1]) - 2}.0."),
    (r"^backbone\.fpn_output(\d)\.", lambda m: f"backbone.fpn.layer_blocks.{int(m[1]) - 2}.0."),
    (r"^proposal_generator\.rpn_head\.conv\.", "rpn.head.conv.0.0."),
    (r"^proposal_generator\.rpn_head\.objectness_logits\.", "rpn.head.cls_logits."),
    (r"^proposal_generator\.rpn_head\.anchor_deltas\.", "rpn.head.bbox_pred."),
    (r"^roi_heads\.box_head\.fc1\.", "roi_heads.box_head.fc6."),
    (r"^roi_heads\.box_head\.fc2\.", "roi_heads.box_head.fc7."),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0."),
    (r"^roi_heads\.mask_head\.deconv\.", "roi_heads.mask_predictor.conv5_mask."),
]
# mmdetection/models (Mask R-CNN and Faster R-CNN with an FPN, in the style "pytorch").
_MMDETECTION: list[tuple[str, Replacement]] = [
    (r"^backbone\.", "backbone.body."),
    (r"^neck\.lateral_convs\.(\d)\.(?:conv\.)?", r"backbone.fpn.inner_blocks.\1.0."),
    (r"^neck\.fpn_convs\.(\d)\.(?:conv\.)?", r"backbone.fpn.layer_blocks.\1.0."),
    (r"^rpn_head\.rpn_conv\.", "rpn.head.conv.0.0."),
    (r"^rpn_head\.rpn_cls\.", "rpn.head.cls_logits."),
    (r"^rpn_head\.rpn_reg\.", "rpn.head.bbox_pred."),
    (r"^roi_head\.bbox_head\.shared_fcs\.(\d)\.", lambda m: f"roi_heads.box_head.fc{int(m[1]) + 6}."),
    (r"^roi_head\.mask_head\.convs\.(\d)\.(?:conv\.)?", r"roi_heads.mask_head.\1.0."),
    (r"^roi_head\.mask_head\.upsample\.", "roi_heads.mask_predictor.conv5_mask."),
]
_MMDETECTIONS_CATEGORIES = (
    "roi_head.bbox_head.fc_cls.", "roi_head.bbox_head.fc_reg.", "roi_head.mask_head.conv_logits.",
)  # fmt: skip
_OF_CATEGORIES = ("roi_heads.box_predictor.", "roi_heads.mask_head.predictor.")  # background is detectron2's last label


def without_wrappers(state: State) -> tuple[State, list[str]]:
    """A state dict without the prefixes that wrappers of a model add, and those prefixes."""
    removed = []
    if any(_COMPILED in name for name in state):
        state, removed = {name.replace(_COMPILED, ""): value for name, value in state.items()}, [_COMPILED]
    while prefix := next((each for each in _WRAPPERS if _most_begin_with(state, each)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        removed.append(prefix)
    return state, removed


def _most_begin_with(state: State, prefix: str) -> bool:
    """Whether a prefix is a wrapper's; a few tensors beside the model (a loss's weights, a metric) are left out."""
    return 2 * sum(name.startswith(prefix) for name in state) > len(state)


def is_detectron2(state: State) -> bool:
    """Whether the names are detectron2's."""
    return any(name.startswith("backbone.bottom_up.") for name in state)


def from_detectron2(state: State) -> State:
    """Detectron2's tensors under torchvision's names, without the layers that depend on its order of categories.

    Its models take BGR in 0..255 and subtract ImageNet's mean (``PIXEL_MEAN``, ``PIXEL_STD`` 1): the first convolution
    is changed to give the same from normalised RGB.
    """
    state = {
        _replaced(name, _DETECTRON2): value for name, value in state.items() if not name.startswith(_OF_CATEGORIES)
    }
    first = state.get("backbone.body.conv1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == len(STD):
        scale = first.new_tensor(STD)[None, :, None, None] * 255
        state["backbone.body.conv1.weight"] = first.flip(1) * scale
    return state


def is_mmdetection(state: State) -> bool:
    """Whether the names are mmdetection's, of a two-stage detector with an FPN."""
    return any(name.startswith("neck.") for name in state) and any(name.startswith("rpn_head.") for name in state)


def from_mmdetection(state: State) -> State:
    """Mmdetection's tensors under torchvision's names, without the layers that depend on its order of categories.

    Its models of the style "pytorch" take what torchvision's take. Nothing in a state dict tells those of the style
    "caffe", whose images are BGR in 0..255: they are loaded alike, and have to learn the difference.
    """
    return {
        _replaced(name, _MMDETECTION): value
        for name, value in state.items()
        if not name.startswith(_MMDETECTIONS_CATEGORIES)
    }


def is_timm(state: State) -> bool:
    """Whether the names are timm's, of an EfficientNet, a MobileNet or a ConvNeXt; its ResNets have torchvision's."""
    return any(name.endswith(("conv_stem.weight", "conv_dw.weight")) for name in state) and _IN_LITE not in state


def in_order(state: State, shapes: dict[str, torch.Size]) -> State | None:
    """The tensors at the beginning of a state dict under other names, in the same order; None where they do not fit.

    timm and torchvision name the layers of these networks differently, and have them in the same order.

    Args:
        state: Tensors by name.
        shapes: Those of the wanted names, in order. Dimensions of 1 do not count.
    """
    given = [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
    wanted = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    if len(given) < len(wanted):
        return None
    pairs = list(zip(wanted.items(), given, strict=False))
    if any([side for side in shape if side > 1] != [side for side in v.shape if side > 1] for (_, shape), v in pairs):
        return None
    return {name: value.reshape(shape) for (name, shape), value in pairs}


def from_old_torchvision(state: State) -> State:
    """Tensors of torchvision's detectors under the names that they have since 0.14."""
    return {_replaced(name, _OLD_TORCHVISION): value for name, value in state.items()}


def _replaced(name: str, rules: list[tuple[str, Replacement]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def heads_of(state: State) -> HeadsName:
    """The version of torchvision's detectors: the second has norms in its pyramid and heads."""
    return "v2" if any(name.startswith("backbone.fpn.inner_blocks.0.1.") for name in state) else "v1"


def is_published(state: State) -> bool:
    """Whether a file is torchvision's own of a first version, made with norms that added nothing to variances.

    torchvision sets their ``eps`` to 0 for these files, which have the names of before 0.14 and COCO's 91 labels.
    """
    scores = state.get("roi_heads.box_predictor.cls_score.weight")
    old = "backbone.fpn.inner_blocks.0.weight" in state and "backbone.body.layer3.5.conv3.weight" in state
    return old and scores is not None and len(scores) == _COCO_LABELS
