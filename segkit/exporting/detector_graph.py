"""A trained detector as one graph for a batch of images of one size, which every exporter can trace.

torchvision's detectors loop over images and cut lists to lengths that depend on the data, which neither
``torch.export`` nor a graph with a free batch can hold (vision#9306, #9321, #9462). Here the modules and thresholds are
the model's own, and what is between them is written with tensors whose dimensions follow from those of the batch:
proposals and detections stay in rows of fixed length until the end, with a score of -1 in places that are not used.
What the graph finds is what the model finds (``tests/test_export_graph.py``).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from segkit.exporting.suppression import suppress
from segkit.models.backbones import MEAN, STD
from segkit.models.detector import Detector
from segkit.models.heads import PerImageRoIHeads
from segkit.models.mask_predictor import MaskPredictor
from segkit.models.panoptic import PanopticFPN
from segkit.models.roi_align import PyramidRoIAlign
from segkit.models.rpn import PerImageRPN, ranked
from segkit.models.sizes import STRIDES

_LEAST_BOX = 1e-2  # side of a detection, in pixels: torchvision's
_UNUSED = -1.0  # the score of a place without an instance


class DetectorGraph(nn.Module):
    """Images uint8 [B, 3, H, W] -> boxes [N, 4], labels [N], scores [N], masks [N, M, M] and image [N].

    N instances of all images, by image and falling score. The last output, ``images_of`` in files, says which image of
    the batch each one is in.
    """

    def __init__(self, model: Detector) -> None:
        """Take the parts of a model in evaluation mode."""
        super().__init__()
        self.model = model
        self.mean = nn.Buffer(torch.tensor(MEAN)[:, None, None])
        self.std = nn.Buffer(torch.tensor(STD)[:, None, None])
        anchors = model.rpn.anchor_generator
        anchors.set_cell_anchors(torch.float32, torch.device("cpu"))
        self.cells = nn.ParameterList(nn.Parameter(each.clone(), False) for each in anchors.cell_anchors)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The detections of a batch."""
        height, width = images.shape[-2], images.shape[-1]
        frame = pad((images.float() / 255 - self.mean) / self.std)
        features = self.model.backbone(frame)
        proposals, used = self._proposals(list(features.values()), frame, height, width)  # [B, P, 4], [B, P]
        boxes, scores, labels = self._detections(features, proposals, used, height, width)  # [B, D, ...]
        image, place = torch.where(scores > _UNUSED)
        out: tuple[Tensor, ...] = (boxes[image, place], labels[image, place], scores[image, place])
        if self.model.roi_heads.has_mask():
            out = (*out, self._masks(features, image, *out[:2]))
        return (*out, *self._more(features, images), image)

    def _more(self, features: dict[str, Tensor], images: Tensor) -> tuple[Tensor, ...]:
        """What else the model finds in the images of a batch: nothing.

        Args:
            features: The maps of the pyramid.
            images: The images, without padding.
        """
        return ()

    def _proposals(self, features: list[Tensor], frame: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The regions of each image that may hold an instance, [B, P, 4], and which of them are used, [B, P]."""
        rpn = self.model.rpn
        logits, deltas = rpn.head(features)
        most = rpn.post_nms_top_n()
        boxes, scores = [], []
        for cells, logit, delta in zip(self.cells, logits, deltas, strict=True):
            anchors = _anchors(cells, logit, frame)  # [H * W * A, 4]
            logit = _by_place(logit).flatten(1)  # [B, H * W * A]
            count = _at_most(logit, rpn.pre_nms_top_n())
            logit, chosen = logit.topk(count, dim=1)
            delta = _by_place(delta).reshape(delta.shape[0], -1, 4)  # [B, H * W * A, 4]
            delta = delta.gather(1, chosen[..., None].expand(-1, -1, 4))
            found = _clipped(_decoded(delta, anchors[chosen], rpn.box_coder), height, width)
            score = torch.where(_is_large(found, rpn.min_size), ranked(logit).sigmoid(), _UNUSED)
            kept = suppress(found, score, rpn.nms_thresh, 0.5 * _UNUSED, most)
            boxes.append(found)
            scores.append(torch.where(kept, score, _UNUSED))
        score = torch.cat(scores, dim=1)
        score, chosen = score.topk(_at_most(score, most), dim=1)
        return torch.cat(boxes, dim=1).gather(1, chosen[..., None].expand(-1, -1, 4)), score > _UNUSED

    def _detections(
        self, features: dict[str, Tensor], proposals: Tensor, used: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [B, D, 4], scores [B, D] (-1: none) and labels [B, D]."""
        heads = self.model.roi_heads
        batch, count = proposals.shape[0], proposals.shape[1]
        image = torch.arange(batch, device=proposals.device)[:, None].expand(-1, count).flatten()
        pooled = pool(heads.box_roi_pool, features, image, proposals.flatten(0, 1))
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        classes = logits.shape[1] - 1
        score = logits.softmax(-1)[:, 1:].reshape(batch, count, classes).transpose(1, 2)  # [B, K, P]
        by_class = deltas[:, 4:].reshape(batch, count, classes, 4).transpose(1, 2)  # [B, K, P, 4]
        regions = proposals[:, None].expand(-1, classes, -1, -1)
        found = _clipped(_decoded(by_class, regions, heads.box_coder), height, width)
        valid = _is_large(found, _LEAST_BOX) & used[:, None]
        score = torch.where(valid, score, _UNUSED)
        most = heads.detections_per_img
        kept = suppress(found.flatten(0, 1), score.flatten(0, 1), heads.nms_thresh, heads.score_thresh, most)
        score = torch.where(kept.reshape(batch, classes, count), score, _UNUSED).flatten(1)
        score, chosen = score.topk(_at_most(score, most), dim=1)
        boxes = found.flatten(1, 2).gather(1, chosen[..., None].expand(-1, -1, 4))
        return boxes, score, chosen // count + 1

    def _masks(self, features: dict[str, Tensor], image: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Mask probabilities [N, M, M] of the labels of instances."""
        heads = self.model.roi_heads
        logits = heads.mask_predictor(heads.mask_head(pool(heads.mask_roi_pool, features, image, boxes)))
        side = logits.shape[-1]
        chosen = labels[:, None, None, None].expand(-1, 1, logits.shape[-2], side)
        masks: Tensor = logits.gather(1, chosen)[:, 0].sigmoid()
        return masks


class PanopticGraph(DetectorGraph):
    """The same with the probabilities of classes before the last output, [B, C, h, w] in cells."""

    model: PanopticFPN

    def _more(self, features: dict[str, Tensor], images: Tensor) -> tuple[Tensor, ...]:
        """See ``DetectorGraph``."""
        stride = self.model.semantic.stride
        cells = images[:, :1, ::stride, ::stride]  # as many as there are without the padding
        return (self.model.class_probabilities(features)[:, :, : cells.shape[-2], : cells.shape[-1]],)


def pad(images: Tensor) -> Tensor:
    """Images [B, C, H, W], padded below and beside so that the deepest stride divides their sides."""
    height, width = images.shape[-2], images.shape[-1]
    return F.pad(images, (0, (-width) % STRIDES[-1], 0, (-height) % STRIDES[-1]))


def _anchors(cells: Tensor, level: Tensor, frame: Tensor) -> Tensor:
    """The anchors of all places of a level, [H * W * A, 4], as torchvision makes them."""
    height, width = level.shape[-2], level.shape[-1]
    down, across = frame.shape[-2] // height, frame.shape[-1] // width
    y = (torch.arange(height, device=level.device) * down).to(cells)
    x = (torch.arange(width, device=level.device) * across).to(cells)
    y, x = y[:, None].expand(height, width), x[None].expand(height, width)
    return (torch.stack([x, y, x, y], dim=-1)[:, :, None] + cells).reshape(-1, 4)


def _by_place(maps: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H, W, C], copied, so that no view depends on whether a side is 1."""
    return maps.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)


def _at_most(values: Tensor, most: int) -> Any:
    """The number of values in a row [B, N], or ``most`` where that is less."""
    count = values.shape[1]
    if isinstance(count, Tensor):  # while it is traced
        return torch.minimum(count, torch.tensor(most))
    return torch.sym_min(count, most)


def _decoded(deltas: Tensor, boxes: Tensor, coder: Any) -> Tensor:
    """Boxes [..., 4] moved and scaled by deltas [..., 4], as torchvision's ``BoxCoder`` does."""
    low, high = boxes[..., :2], boxes[..., 2:]
    side = high - low
    shift = deltas[..., :2] / deltas.new_tensor(coder.weights[:2])
    scale = (deltas[..., 2:] / deltas.new_tensor(coder.weights[2:])).clamp(max=coder.bbox_xform_clip)
    centre, half = shift * side + (low + 0.5 * side), 0.5 * (scale.exp() * side)
    return torch.cat([centre - half, centre + half], dim=-1)


def _clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes [..., 4] inside an image."""
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def _is_large(boxes: Tensor, least: float) -> Tensor:
    return ((boxes[..., 2:] - boxes[..., :2]) >= least).all(-1)


def pool(pooler: PyramidRoIAlign, features: dict[str, Tensor], image: Tensor, boxes: Tensor) -> Tensor:
    """Features [R, C, n, n] in boxes [R, 4] of the images of a batch [R], each from the level of its size."""
    levels = [each for name, each in features.items() if name in pooler.featmap_names]
    level_of = pooler.map_levels([boxes])
    regions = torch.cat([image[:, None].to(boxes), boxes], dim=1)
    pooled, places = [], []
    for number, (level, scale) in enumerate(zip(levels, pooler.scales, strict=True)):
        chosen = torch.where(level_of == number)[0]
        pooled.append(roi_align(level, regions[chosen], pooler.output_size, scale, pooler.sampling_ratio))
        places.append(chosen)
    return torch.cat(pooled)[torch.cat(places).argsort()]


def has_graph(model: Detector) -> bool:
    """Whether a detector is made of the parts that are known here."""
    heads = model.roi_heads
    known = type(heads) is PerImageRoIHeads and type(model.rpn) is PerImageRPN
    return known and (not heads.has_mask() or type(heads.mask_predictor) is MaskPredictor)
