"""U-Net: a label for every pixel, and instances as connected components of them, parted where they touch.

After Ronneberger et al. 2015 (https://arxiv.org/abs/1505.04597), with a classifier's layers or the paper's own as the
contracting path. Like the detectors it returns losses in training and predictions in evaluation.

Its maps are the probabilities of labels, [K + 1, H, W]; with ``--instances distance`` there is one more, of the
normalised distances that part instances (``segkit.data.touching``).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.choices import BackboneName, InstancesName, NormName
from segkit.data.label_maps import IGNORED
from segkit.data.touching import SCALE
from segkit.models.backbones import NORMS, make_body, normalise, strides_of
from segkit.models.input_channels import take_channels
from segkit.models.label_instances import instances_of
from segkit.models.losses import distance_loss, semantic_losses
from segkit.models.sizes import DEFAULT_EPS, padded_frame
from segkit.models.tensors import Prediction, Target
from segkit.models.unet_settings import UnetSettings

_WIDTHS = (256, 128, 64, 48, 32)  # channels of the decoder at strides 16, 8, 4, 2, 1
_WIDTHS_OF_PLAIN = (512, 256, 128, 64)  # at strides 8, 4, 2, 1, as in the paper
_FIRST_DISTANCE = -2.0  # a logit
_PLAIN = UnetSettings()


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
        loss: str,
        norm_eps: float = DEFAULT_EPS,
        settings: UnetSettings = _PLAIN,
        channels: int = 3,
    ) -> None:
        """Build with random weights.

        Args:
            num_classes: Labels including background.
            backbone: The contracting path.
            norm: Normalisation of both paths.
            loss: The sum of losses to minimise, such as ``ce+0.5*dice``.
            norm_eps: What the norms of the contracting path add to variances.
            settings: How instances are made, and how labels count.
            channels: Of the images.
        """
        super().__init__()
        self.body, widths_of_maps = make_body(backbone, norm, eps=norm_eps)
        take_channels(self.body, channels)
        widths = _WIDTHS_OF_PLAIN if backbone == "plain" else _WIDTHS
        self._deepest = strides_of(backbone)[-1]
        skips = [*reversed(widths_of_maps[:-1]), 0]  # the last one where the network has no map of stride 1
        inputs = [widths_of_maps[-1], *widths[:-1]]
        # The decoder is not pretrained: it has no statistics to freeze.
        layer = NORMS["batch" if norm == "frozen" else norm]
        self.decoder = nn.ModuleList(
            nn.Sequential(*_conv(below + skip, out, layer), *_conv(out, out, layer))
            for below, skip, out in zip(inputs, skips, widths, strict=False)
        )
        self.head = nn.Conv2d(widths[-1], num_classes, 1)
        self.distance = nn.Conv2d(widths[-1], 1, 1) if settings.instances == "distance" else None
        if self.distance is not None and self.distance.bias is not None:
            nn.init.constant_(self.distance.bias, _FIRST_DISTANCE)  # most pixels are background
        self.loss, self.settings = loss, settings
        weights = None if settings.class_weights is None else torch.tensor(settings.class_weights)
        self.class_weights = nn.Buffer(weights, persistent=False) if weights is not None else None
        self.dropout = 0.0

    def logits(self, images: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """Logits of the maps, [B, M, H, W], of normalised images [B, C, H, W] with sides divisible by 32.

        In training, ``dropout`` is the fraction of channels of the last features that are dropped, by a seed for each
        image.
        """
        maps = self.body(images)
        features = maps[str(self._deepest)]
        for depth, block in enumerate(self.decoder, 1):
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            if (stride := str(self._deepest >> depth)) in maps:  # a ConvNeXt has none of stride 2
                features = torch.cat([features, maps[stride]], dim=1)
            features = block(features)
        if self.training and self.dropout and seeds is not None:
            features = drop_channels(features, self.dropout, seeds)
        out: Tensor = self.head(features)
        return out if self.distance is None else torch.cat([out, self.distance(features)], dim=1)

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Losses of images and targets in training; a list of ``Prediction`` of images in evaluation.

        Images are uint8 [C, H, W] each, of any size in evaluation.
        """
        batch = batch_of(images)  # [B, C, H, W]
        seeds = [target["seed"] for target in targets or () if "seed" in target]
        logits = self.logits(batch, seeds or None).float()
        if self.training:
            assert targets is not None
            return self._losses(logits, targets)
        return [split_instances(each, self.settings.instances) for each in self._maps(logits, images)]

    def _losses(self, logits: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        side, smoothing = logits.shape[-2:], self.settings.label_smoothing
        labels = torch.stack([_pad(target["semantic"], side, IGNORED) for target in targets]).long()
        if self.distance is None:
            return semantic_losses(self.loss, logits, labels, self.class_weights, smoothing)
        distances = torch.stack([_pad(target["distances"], side, 0) for target in targets]).float() / SCALE
        losses = semantic_losses(self.loss, logits[:, :-1], labels, self.class_weights, smoothing)
        return losses | {"distance": distance_loss(logits[:, -1], distances, labels)}

    def maps(self, images: Sequence[Tensor]) -> list[Tensor]:
        """What it predicts of every pixel, float [M, H, W] for each image; in evaluation."""
        return self._maps(self.logits(batch_of(images)).float(), images)

    def _maps(self, logits: Tensor, images: Sequence[Tensor]) -> list[Tensor]:
        """Maps without the padding of the batch."""
        each = (one[:, : image.shape[-2], : image.shape[-1]] for one, image in zip(logits, images, strict=True))
        return [maps_of(one, self.settings.instances) for one in each]


def maps_of(logits: Tensor, instances: InstancesName) -> Tensor:
    """Logits [M, H, W] as probabilities of labels, and normalised distances where instances are made with them."""
    if instances == "components":
        return logits.softmax(0)
    return torch.cat([logits[:-1].softmax(0), logits[-1:].sigmoid()])


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
    """Normalise images (uint8 [C, H, W], of any sizes) and pad them to one size that the deepest stride divides."""
    side = padded_frame(*(max(image.shape[axis] for image in images) for axis in (-2, -1)))
    return torch.stack([_pad(normalise(image), side, 0.0) for image in images])


def split_instances(maps: Tensor, instances: InstancesName = "components") -> Prediction:
    """The most probable label of every pixel, and the instances of each label.

    Args:
        maps: Float [M, H, W].
        instances: How they are made.

    Returns:
        Instances of at least 16 pixels by falling score, which is the mean probability of their label over their
        pixels, and the label map.
    """
    probabilities, distances = (maps, None) if instances == "components" else (maps[:-1], maps[-1].cpu().numpy())
    best, labels = probabilities.max(dim=0)
    found = instances_of(labels.to(torch.uint8).cpu().numpy(), best.cpu().numpy(), distances)
    return {
        "boxes": torch.from_numpy(found["boxes"]),
        "labels": torch.from_numpy(found["labels"]),
        "scores": torch.from_numpy(found["scores"]),
        "box_masks": found["box_masks"],
        "semantic": found["semantic"],
    }
