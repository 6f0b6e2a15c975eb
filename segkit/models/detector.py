"""Mask R-CNN and Faster R-CNN, made of torchvision's parts.

Architecture, losses and inference are torchvision's (He et al. 2017, https://arxiv.org/abs/1703.06870), and so are the
parameter names, in both of its versions: the second (Li et al. 2021, https://arxiv.org/abs/2111.11429) has norms in the
pyramid and the heads, two convolutions in the RPN and four in the box head. Two things are taken out of the model:
resizing (the loader does it, on bytes) and pasting masks into full images (``segkit.models.tensors`` encodes them in
their boxes instead). One is changed: losses are means over images (``segkit.models.heads``).
"""

from collections.abc import Sequence
from typing import Any, ClassVar, assert_never

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.rpn import RPNHead

from segkit.choices import BackboneName, NormName
from segkit.models.detector_settings import DetectorSettings
from segkit.models.frozen_norm import fold_norms
from segkit.models.heads import PerImageRoIHeads
from segkit.models.mask_predictor import MaskPredictor
from segkit.models.pointrend import PointRend, PointRendRoIHeads
from segkit.models.pyramid import Normalise, Pyramid, frame_of, norm_layer
from segkit.models.roi_align import PyramidRoIAlign
from segkit.models.rpn import Anchors, PerImageRPN
from segkit.models.sampling import SeededSampler
from segkit.models.tensors import Target


def _in_fp32(head: nn.Module) -> None:
    """Convert the output of a head to fp32: under autocast, boxes, scores and losses follow its type."""
    head.register_forward_hook(lambda module, inputs, output: _to_fp32(output))


def _to_fp32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(_to_fp32(each) for each in output)


class Detector(GeneralizedRCNN):  # type: ignore[misc]  # torchvision has no types
    """Mask R-CNN, or without masks Faster R-CNN, with torchvision's architecture and thresholds.

    It maps images (uint8 [3, H, W] each) and targets to {loss name: scalar} in training, and images to a list of
    ``Prediction`` in evaluation, in the frame of the images.

    Attributes:
        rows_per_category: Layers with rows for each label, and how many.
    """

    rows_per_category: ClassVar[dict[str, int]] = {
        "roi_heads.box_predictor.cls_score": 1,
        "roi_heads.box_predictor.bbox_pred": 4,
        "roi_heads.mask_predictor.mask_fcn_logits": 1,
        "roi_heads.mask_head.coarse.prediction": 49,
    }

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneName,
        norm: NormName,
        settings: DetectorSettings,
        *,
        masks: bool,
        norm_eps: float = 1e-5,
    ) -> None:
        """Build with random weights.

        Args:
            num_classes: Categories plus one for background, as torchvision counts.
            backbone: Feature extractor under the feature pyramid.
            norm: Its normalisation.
            settings: Plain numbers.
            masks: Whether to predict masks.
            norm_eps: What the norms of the feature extractor add to variances.
        """
        pyramid = Pyramid(backbone, norm, norm_eps, settings)
        channels, mask_parts = pyramid.out_channels, {}
        if masks:  # before the other heads, as in torchvision: a seed gives the same weights
            mask_parts = _make_mask_parts(channels, num_classes, settings)
        rpn = _make_rpn(channels, settings)
        roi_heads = _make_roi_heads(channels, num_classes, settings, mask_parts)
        for head in (rpn.head, roi_heads.box_predictor, roi_heads.mask_predictor):
            if head is not None:
                _in_fp32(head)
        super().__init__(pyramid, rpn, roi_heads, Normalise())
        for part in (self.backbone.fpn, self.roi_heads):
            fold_norms(part)  # those of a second version
        self.heads = settings.heads

    def limits(self) -> tuple[float, int]:
        """The IoU above which one of two detections is dropped, and how many instances an image may have."""
        return self.roi_heads.nms_thresh, self.roi_heads.detections_per_img

    def set_limits(self, nms: float, most: int) -> None:
        """Change them."""
        self.roi_heads.nms_thresh, self.roi_heads.detections_per_img = nms, most

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Losses of images and targets in training; a list of ``Prediction`` of images in evaluation."""
        known: Any = targets or ()
        self.begin(known)
        if not self.training:
            return super().forward(images, targets)
        # As torchvision's, without its look at every box, for which a GPU has to be waited for: targets are checked
        # where they are made.
        batch, known = self.transform(list(images), list(known))
        return self.learn(batch, self.backbone(batch.tensors), known)

    def begin(self, targets: Sequence[Target]) -> None:
        """Take the seeds of random choices, and the frame that images are padded to, from targets."""
        seeds = [target["seed"] for target in targets if "seed" in target]
        self.rpn.fg_bg_sampler.seeds, self.roi_heads.fg_bg_sampler.seeds = seeds, [seed + 1 for seed in seeds]
        self.transform.frame = frame_of(targets)

    def learn(self, batch: Any, features: dict[str, Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The losses of a batch by name.

        Args:
            batch: Images, normalised and padded, with their sizes (torchvision's ``ImageList``).
            features: Of its pyramid.
            targets: The ground truth of each image.
        """
        proposals, of_rpn = self.rpn(batch, features, targets)
        _, losses = self.roi_heads(features, proposals, batch.image_sizes, targets)
        return {**losses, **of_rpn}


def _make_rpn(channels: int, settings: DetectorSettings) -> PerImageRPN:
    """A region proposal network with torchvision's thresholds."""
    sizes, ratios = tuple((side,) for side in settings.anchor_sizes), settings.anchor_ratios
    anchors = Anchors(sizes, (ratios,) * len(sizes))
    proposals, before = settings.proposals, settings.before_nms
    in_evaluation = settings.test_proposals or max(proposals // 2, settings.detections)
    rpn = PerImageRPN(
        anchors,
        RPNHead(channels, len(ratios), conv_depth=1 if settings.heads == "v1" else 2),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={
            "training": before or max(2 * proposals, 200),
            "testing": max(before // 2, in_evaluation) if before else max(proposals, 2 * settings.test_proposals, 200),
        },
        post_nms_top_n={"training": proposals, "testing": in_evaluation},
        nms_thresh=0.7,
    )
    rpn.fg_bg_sampler = SeededSampler(256, 0.5)
    return rpn


def _make_mask_parts(channels: int, num_classes: int, settings: DetectorSettings) -> dict[str, nn.Module]:
    """The mask head of a name, by the arguments of torchvision's heads."""
    match settings.mask_head:
        case "conv":
            return {
                "mask_roi_pool": PyramidRoIAlign(2 * settings.roi_size, settings.fpn_levels, settings.roi_sampling),
                "mask_head": MaskRCNNHeads(channels, (256,) * 4, 1, norm_layer(settings)),
                "mask_predictor": MaskPredictor(256, 256, num_classes),
            }
        case "pointrend":
            finest = 2 ** settings.fpn_levels[0]
            return {"mask_head": PointRend(channels, num_classes, settings.mask_size, finest)}
        case _:
            assert_never(settings.mask_head)


def _make_roi_heads(
    channels: int, num_classes: int, settings: DetectorSettings, mask_parts: dict[str, nn.Module]
) -> PerImageRoIHeads:
    """Box and mask heads with torchvision's thresholds."""
    if settings.heads == "v1":
        box_head: nn.Module = TwoMLPHead(channels * settings.roi_size**2, 1024)
    else:
        box_head = FastRCNNConvFCHead((channels, *(settings.roi_size,) * 2), [256] * 4, [1024], norm_layer(settings))
    kind = PointRendRoIHeads if isinstance(mask_parts.get("mask_head"), PointRend) else PerImageRoIHeads
    roi_heads = kind(
        PyramidRoIAlign(settings.roi_size, settings.fpn_levels, settings.roi_sampling),
        box_head,
        FastRCNNPredictor(1024, num_classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=settings.rois,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=0.05,
        nms_thresh=settings.nms,
        detections_per_img=settings.detections,
        **mask_parts,
    )
    roi_heads.fg_bg_sampler = SeededSampler(settings.rois, 0.25)
    roi_heads.aligned_masks = settings.aligned_masks
    return roi_heads
