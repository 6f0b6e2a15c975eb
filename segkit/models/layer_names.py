"""The names of layers in files of weights that others wrote, as segkit's models have them (torchvision's)."""

import re
from collections.abc import Callable

from torch import Tensor

from segkit.models.backbones import STD

State = dict[str, Tensor]

_WRAPPERS = ("module.", "model.", "net.", "network.")  # of DataParallel, Lightning and the like
_COMPILED = "_orig_mod."

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


def from_old_torchvision(state: State) -> State:
    """Tensors of torchvision's detectors under the names that they have since 0.14."""
    return {_replaced(name, _OLD_TORCHVISION): value for name, value in state.items()}


def _replaced(name: str, rules: list[tuple[str, Replacement]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def second_version(state: State) -> str | None:
    """The name of torchvision's detector where it is the second version, whose pyramid and heads have norms."""
    signs = ("backbone.fpn.inner_blocks.0.1.", "rpn.head.conv.1.0.", "roi_heads.box_head.0.0.")
    if not any(name.startswith(signs) for name in state):
        return None
    masks = any(name.startswith("roi_heads.mask_predictor.") for name in state)
    return f"{'maskrcnn' if masks else 'fasterrcnn'}_resnet50_fpn_v2"
