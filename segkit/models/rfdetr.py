"""RF-DETR-Seg: a transformer that finds instances by queries, without anchors, regions and suppression.

Robinson et al. 2025 (https://arxiv.org/abs/2511.09554), as transformers has it. A DINOv2 sees the image in patches; a
decoder turns each of 100 or 200 queries into a box, labels and a mask at stride 4. Images are resized to a square, as
its published weights were trained: so an image has the same prediction in every batch, whatever the sizes in it. The
boxes of a ``Prediction`` are the tight boxes of the masks, as those of CondInst and SOLOv2.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from segkit.models.backbones import normalise
from segkit.models.detector_settings import DetectorSettings
from segkit.models.fcos import highest
from segkit.models.image_masks import in_boxes, not_empty
from segkit.models.rfdetr_losses import losses_of_batch
from segkit.models.rfdetr_settings import RFDETRSettings, configuration, transformers
from segkit.models.square import as_square, square_target
from segkit.models.tensors import Prediction, Target

_MASK_SIZE = 56  # rows and columns in a box, where settings have none
_MIN_SCORE = 0.05


class RFDETR(nn.Module):
    """RF-DETR-Seg; it is called as all models are (``ModelCard.build``).

    Attributes:
        settings: What the network is made with.
        rows_per_category: Layers with rows for each label, and how many; row 0 (background) is never used.
        nms: Of two detections of a category with a higher IoU, one is dropped; 1, the default, drops none.
        detections: Instances of an image at most; the queries are a limit, too.
    """

    body_name = "network.model.model.backbone.backbone"
    heads = "v1"

    def __init__(self, num_classes: int, settings: DetectorSettings, network: RFDETRSettings, size: int) -> None:
        """Build with random weights.

        Args:
            num_classes: Categories plus one, as torchvision counts.
            settings: What it has in common with detectors.
            network: What it is made with.
            size: Side of the square that images are resized to, in pixels.

        Raises:
            InputError: transformers is not installed.
        """
        super().__init__()
        self.network = transformers().RfDetrForInstanceSegmentation(configuration(network, num_classes))
        self.network.loss_function = losses_of_batch
        self.settings, self.size, self.stride = network, size, network.mask_stride
        self.nms, self.detections = settings.nms, settings.detections
        self.mask_size = settings.mask_size or _MASK_SIZE
        places = ["class_embed", *(f"model.enc_out_class_embed.{group}" for group in range(network.group_detr))]
        self.rows_per_category = {f"network.model.{place}": 1 for place in places}

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Losses of images and targets in training; a list of ``Prediction`` of images in evaluation."""
        batch = torch.stack([as_square(normalise(image), self.size) for image in images])
        if self.training:
            assert targets is not None
            cells = self.size // self.stride
            wanted = [square_target(target, image, cells) for target, image in zip(targets, images, strict=True)]
            losses: dict[str, Tensor] = self.network(pixel_values=batch, labels=wanted).loss_dict
            return losses
        found = self.network(pixel_values=batch)
        logits, boxes, masks = found.logits.float(), found.pred_boxes.float(), found.pred_masks.float()
        return [self._predict(logits[i], boxes[i], masks[i], image) for i, image in enumerate(images)]

    def limits(self) -> tuple[float, int]:
        """The IoU above which one of two detections is dropped, and how many instances an image may have."""
        return self.nms, self.detections

    def set_limits(self, nms: float, most: int) -> None:
        """Change them."""
        self.nms, self.detections = nms, most

    def save_memory(self) -> None:
        """Keep no activations inside the layers in training; backward computes them again (``Body.recompute``)."""
        body: Any = self.get_submodule(self.body_name)
        body.activation_checkpointing_enable({"use_reentrant": False})

    def fix_positions(self) -> None:
        """Keep the position embeddings of its size, before a graph is made: formats cannot interpolate them."""
        embeddings: Any = self.get_submodule(self.body_name).embeddings
        side = self.size // self.settings.patch_size
        like = torch.empty(1, side * side + 1, self.settings.hidden_size)
        with torch.no_grad():
            fixed = embeddings.interpolate_pos_encoding(like, self.size, self.size).clone()
        embeddings.interpolate_pos_encoding = lambda *_: fixed

    def _predict(self, logits: Tensor, boxes: Tensor, masks: Tensor, image: Tensor) -> Prediction:
        """The instances of an image: the best pairs of a query and a label, as published.

        Args:
            logits: Of the queries [Q, K + 1].
            boxes: Centre and sides as shares of the image [Q, 4].
            masks: Logits [Q, h, w].
            image: The image [3, H, W].
        """
        scores, queries, labels = _best_queries(logits[:, 1:].sigmoid(), self.detections)
        centre, half = boxes[queries, :2] * self.size, boxes[queries, 2:] * (self.size / 2)
        square = (self.size, self.size)
        corners = torch.cat([centre - half, centre + half], dim=1)
        found, inside = in_boxes(masks[queries].sigmoid(), self.stride, self.mask_size, square, corners)
        if self.nms < 1:
            kept = batched_nms(found, scores, labels, self.nms)
            scores, labels, found, inside = scores[kept], labels[kept], found[kept], inside[kept]
        across, down = image.shape[-1] / self.size, image.shape[-2] / self.size
        x1, y1, x2, y2 = found.unbind(1)
        found = torch.stack([x1 * across, y1 * down, x2 * across, y2 * down], dim=1)
        return not_empty({"boxes": found, "labels": labels, "scores": scores, "masks": inside})


# segkit.memory.simulate.detector_bounds knows this function by its name.
def _best_queries(scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best pairs of a query and a label by scores [Q, K]: their scores, queries, and labels from 1."""
    kinds, flat = scores.shape[1], scores.flatten()
    where = torch.where(flat > _MIN_SCORE)[0]
    best, order = highest(flat[where], most)
    chosen = where[order]
    return best, chosen.div(kinds, rounding_mode="floor"), chosen % kinds + 1
