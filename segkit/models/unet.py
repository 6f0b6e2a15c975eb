"""U-Net: a label for every pixel, and instances as connected components of them.

After Ronneberger et al. 2015 (https://arxiv.org/abs/1505.04597), with a torchvision backbone as the contracting
path. Like the detectors it returns losses in training and predictions in evaluation.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.choices import BackboneName, NormName, UnetLoss
from segkit.data.label_maps import IGNORED
from segkit.models.backbones import DEFAULT_EPS, NORMS, make_body, normalise, padded_frame
from segkit.models.losses import semantic_losses
from segkit.models.tensors import Prediction, Target

_WIDTHS = (256, 128, 64, 48, 32)  # channels of the decoder at strides 16, 8, 4, 2, 1
_MIN_PIXELS = 16  # smaller components are noise


class UNet(nn.Module):
    """Encoder, decoder with skips, one logit map per label.

    Attributes:
        rows_per_category: Layers with rows for each label, and how many.
    """

    rows_per_category: ClassVar[dict[str, int]] = {"head": 1}

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneName,
        norm: NormName,
        loss: UnetLoss,
        norm_eps: float = DEFAULT_EPS,
    ) -> None:
        """Build with random weights.

        Args:
            num_classes: Labels including background.
            backbone: The contracting path.
            norm: Normalisation of both paths.
            loss: The loss to minimise.
            norm_eps: What the norms of the contracting path add to variances.
        """
        super().__init__()
        self.body, channels = make_body(backbone, norm, eps=norm_eps)
        skips = [*reversed(channels[:-1]), 0]
        inputs = [channels[-1], *_WIDTHS[:-1]]
        # The decoder is not pretrained: it has no statistics to freeze.
        layer = NORMS["batch" if norm == "frozen" else norm]
        self.decoder = nn.ModuleList(
            nn.Sequential(*_conv(below + skip, out, layer), *_conv(out, out, layer))
            for below, skip, out in zip(inputs, skips, _WIDTHS, strict=True)
        )
        self.head = nn.Conv2d(_WIDTHS[-1], num_classes, 1)
        self.loss: UnetLoss = loss
        self.dropout = 0.0

    def logits(self, images: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """Logits [B, K + 1, H, W] of normalised images [B, 3, H, W] with sides divisible by 32.

        In training, ``dropout`` is the fraction of channels of the last features that are dropped, by a seed for each
        image.
        """
        maps = self.body(images)
        features = maps["32"]
        for block, stride in zip(self.decoder, ("16", "8", "4", "2", "1"), strict=True):
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            if stride in maps:  # a ConvNeXt has none of stride 2
                features = torch.cat([features, maps[stride]], dim=1)
            features = block(features)
        if self.training and self.dropout and seeds is not None:
            features = drop_channels(features, self.dropout, seeds)
        out: Tensor = self.head(features)
        return out

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Losses of images and targets in training; a list of ``Prediction`` of images in evaluation.

        Images are uint8 [3, H, W] each, of any size in evaluation.
        """
        batch = batch_of(images)  # [B, 3, H, W]
        seeds = [target["seed"] for target in targets or () if "seed" in target]
        logits = self.logits(batch, seeds or None).float()
        if self.training:
            assert targets is not None
            padded = [_pad(target["semantic"], batch.shape[-2:], IGNORED) for target in targets]
            return semantic_losses(self.loss, logits, torch.stack(padded).long())
        return [split_instances(each) for each in _probabilities(logits, images)]

    def probabilities(self, images: Sequence[Tensor]) -> list[Tensor]:
        """The probability of every label at every pixel, float [K + 1, H, W] for each image; in evaluation."""
        return _probabilities(self.logits(batch_of(images)).float(), images)


def _probabilities(logits: Tensor, images: Sequence[Tensor]) -> list[Tensor]:
    """Probabilities without the padding of the batch."""
    return [one[:, : image.shape[-2], : image.shape[-1]].softmax(0) for one, image in zip(logits, images, strict=True)]


def drop_channels(features: Tensor, share: float, seeds: Sequence[int]) -> Tensor:
    """Set channels of every image [C, H, W] to zero and scale up the others (spatial dropout: Tompson et al. 2015).

    Which ones depends on the image's own seed, and not on the other images of the micro-batch.

    Args:
        features: [B, C, H, W].
        share: The probability that a channel is dropped.
        seeds: One for each image.
    """
    random = [torch.rand(features.shape[1], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    kept = (torch.stack(random) >= share).to(features) / (1 - share)
    return features * kept[:, :, None, None]


def _conv(inputs: int, outputs: int, norm: Any) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm(outputs), nn.ReLU(inplace=True)]


def _pad(values: Tensor, side: Sequence[int], fill: float) -> Tensor:
    return F.pad(values, (0, side[1] - values.shape[-1], 0, side[0] - values.shape[-2]), value=fill)


def batch_of(images: Sequence[Tensor]) -> Tensor:
    """Normalise images (uint8 [3, H, W], of any sizes) and pad them to one size that the deepest stride divides."""
    side = padded_frame(*(max(image.shape[axis] for image in images) for axis in (-2, -1)))
    return torch.stack([_pad(normalise(image), side, 0.0) for image in images])


def split_instances(probabilities: Tensor) -> Prediction:
    """The most probable label of every pixel, and the connected components of each label as instances.

    Args:
        probabilities: Float [K + 1, H, W], summing to 1 over labels.

    Returns:
        Instances of at least 16 pixels by falling score, which is the mean probability of their label over their
        pixels, and the label map.
    """
    best, labels = probabilities.max(dim=0)
    return instances_of(labels.to(torch.uint8).cpu().numpy(), best.cpu().numpy())


def instances_of(label_map: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32]) -> Prediction:
    """The connected components of each label as instances, as ``split_instances`` gives them.

    Args:
        label_map: The most probable label of every pixel, [H, W].
        confidence: Its probability.
    """
    found: list[tuple[float, int, tuple[int, int, int, int], npt.NDArray[np.bool_]]] = []
    for label in np.unique(label_map[label_map > 0]).tolist():
        count, components, stats, _ = cv2.connectedComponentsWithStats((label_map == label).astype(np.uint8))
        for component in range(1, count):
            left, top, width, height, pixels = stats[component].tolist()
            if pixels >= _MIN_PIXELS:
                window = np.s_[top : top + height, left : left + width]
                inside = components[window] == component
                score = float(confidence[window][inside].mean())
                found.append((score, label, (left, top, left + width, top + height), inside))
    found.sort(key=lambda instance: -instance[0])
    return {
        "boxes": torch.tensor([box for _, _, box, _ in found], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([label for _, label, _, _ in found], dtype=torch.int64),
        "scores": torch.tensor([score for score, _, _, _ in found], dtype=torch.float32),
        "box_masks": [mask for _, _, _, mask in found],
        "semantic": label_map,
    }
