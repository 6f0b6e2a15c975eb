"""Mask R-CNN and Faster R-CNN: torchvision's models behind segkit's contract.

Architecture, losses and inference are torchvision's (He et al. 2017, https://arxiv.org/abs/1703.06870), and so are the
parameter names. Two things are taken out of the model: resizing (the loader does it, on bytes) and pasting masks into
full pictures (``segkit.models.tensors`` encodes them in their boxes instead). One is changed: losses are means over
pictures (``segkit.models.heads``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.poolers import _setup_scales

from segkit.choices import BackboneName, NormName
from segkit.models.backbones import make_body
from segkit.models.heads import PictureRoIHeads, PictureRPN, SeededSampler
from segkit.models.roi_align import use_matrix_products
from segkit.models.tensors import Target

MEAN, STD = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # ImageNet's, which all of torchvision's weights expect
_FPN_STRIDES = ("4", "8", "16", "32")
_RATIOS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Plain numbers of a detector; the defaults are torchvision's.

    Attributes:
        proposals: Regions per image that the RPN hands on.
        rois: Regions per image that the heads learn from.
        detections: Instances per image at most.
        anchor_sizes: Side of the anchors at strides 4, 8, 16, 32 and 64, in pixels.
    """

    proposals: int = 2000
    rois: int = 512
    detections: int = 100
    anchor_sizes: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)


class _Anchors(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """Anchors in fp32 whatever the features are: bf16 knows pixels beyond 512 to the nearest 4 only."""

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        super().set_cell_anchors(torch.float32, device)


def _in_fp32(head: nn.Module) -> None:
    """Let what a head gives be fp32: under autocast, boxes, scores and losses follow its type."""
    head.register_forward_hook(lambda module, inputs, output: _to_fp32(output))


def _to_fp32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(_to_fp32(each) for each in output)


class _Normalise(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision has no types
    """Bytes to normalised floats, padded to a batch; no resizing on the way in, no pasting on the way out.

    ``frame`` is the least (height, width) to pad to. Borders and group norms see the padding: where all of a batch is
    padded alike, a picture's features do not depend on those that it shares a micro-batch with.
    """

    frame: tuple[int, int] | None = None

    def __init__(self) -> None:
        super().__init__(min_size=1, max_size=1, image_mean=list(MEAN), image_std=list(STD))

    def normalize(self, image: Tensor) -> Tensor:
        mean = torch.tensor(self.image_mean, device=image.device)[:, None, None]
        std = torch.tensor(self.image_std, device=image.device)[:, None, None]
        return (image.float() / 255 - mean) / std

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target

    def batch_images(self, images: list[Tensor], size_divisible: int = 32) -> Tensor:
        if self.frame is not None:
            below, beside = (max(0, side - have) for side, have in zip(self.frame, images[0].shape[-2:], strict=True))
            images = [F.pad(images[0], (0, beside, 0, below)), *images[1:]]
        batched: Tensor = super().batch_images(images, size_divisible)
        return batched

    def postprocess(self, result: list[Any], image_shapes: Any, original_image_sizes: Any) -> list[Any]:
        return [{**r, "masks": r["masks"][:, 0]} if "masks" in r else r for r in result]


def build_detector(
    *, masks: bool, num_classes: int, backbone: BackboneName, norm: NormName, settings: DetectorSettings
) -> nn.Module:
    """A Mask R-CNN (or, without masks, a Faster R-CNN) with random weights.

    The module maps images (uint8 [3, H, W] each) and targets to {loss name: scalar} in training, and images to a list
    of ``Prediction`` in evaluation, in the frame of the images.

    Args:
        masks: Whether it predicts masks.
        num_classes: Categories plus one for background, as torchvision counts.
        backbone: Feature extractor under the feature pyramid.
        norm: Its normalisation.
        settings: Plain numbers.
    """
    body, channels = make_body(backbone, norm)
    children = {name: stride for name, stride in body.return_layers.items() if stride in _FPN_STRIDES}
    # torchvision's own class, so that the parameter names are those of its weights
    pyramid = BackboneWithFPN(body, {name: str(level) for level, name in enumerate(children)}, channels[1:], 256)
    kind = MaskRCNN if masks else FasterRCNN
    model = kind(
        pyramid,
        num_classes,
        rpn_anchor_generator=_Anchors(tuple((s,) for s in settings.anchor_sizes), (_RATIOS,) * 5),
        rpn_pre_nms_top_n_train=max(2 * settings.proposals, 200),
        rpn_pre_nms_top_n_test=max(2 * settings.proposals // 2, 200),
        rpn_post_nms_top_n_train=settings.proposals,
        rpn_post_nms_top_n_test=max(settings.proposals // 2, settings.detections),
        box_batch_size_per_image=settings.rois,
        box_detections_per_img=settings.detections,
    )
    model.transform = _Normalise()
    for head in (model.rpn.head, model.roi_heads.box_predictor, model.roi_heads.mask_predictor):
        if head is not None:
            _in_fp32(head)
    for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        if pool is not None:
            _fix_scales(pool)
            use_matrix_products(pool)
    model.rpn.__class__, model.roi_heads.__class__ = PictureRPN, PictureRoIHeads  # neither has state of its own
    for stage in (model.rpn, model.roi_heads):
        sampler = stage.fg_bg_sampler
        stage.fg_bg_sampler = SeededSampler(sampler.batch_size_per_image, sampler.positive_fraction)
    model.register_forward_pre_hook(_hand_over)
    built: nn.Module = model
    return built


def _hand_over(model: Any, inputs: tuple[Any, ...]) -> None:
    """Tell the parts of a model what targets say beside the instances: seeds, and the frame to pad to."""
    targets: Sequence[Target] = inputs[1] or () if len(inputs) > 1 else ()
    seeded = len(targets) > 0 and all("seed" in target for target in targets)
    model.rpn.fg_bg_sampler.seeds = [target["seed"] for target in targets] if seeded else None
    model.roi_heads.fg_bg_sampler.seeds = [target["seed"] + 1 for target in targets] if seeded else None
    frames = [target["frame"] for target in targets if "frame" in target]
    model.transform.frame = (max(f[0] for f in frames), max(f[1] for f in frames)) if frames else None


def _fix_scales(pool: Any, side: int = 512) -> None:
    """Tell the pooler the strides of the pyramid.

    torchvision's guesses them from the first picture that it sees, by its size before padding, and keeps them: a small
    or odd first picture would shift every region of the run.
    """
    levels = [torch.zeros(1, 1, side // int(stride), side // int(stride)) for stride in _FPN_STRIDES]
    pool.scales, pool.map_levels = _setup_scales(levels, [(side, side)], pool.canonical_scale, pool.canonical_level)
