"""What all detectors begin with: images normalised and padded to a batch, and a feature pyramid over a backbone."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from segkit.choices import BackboneName, NormName
from segkit.models.backbones import MEAN, NORMS, STD, make_body, normalise
from segkit.models.detector_settings import DetectorSettings
from segkit.models.sizes import STRIDES
from segkit.models.tensors import Target


class Normalise(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision has no types
    """Normalise images and pad them to a batch; neither resize them nor paste masks.

    ``frame`` is the least (height, width) to pad to. Convolutions at borders and group norms see the padding: where a
    whole batch is padded alike, the features of an image do not depend on the others in its micro-batch.
    """

    frame: tuple[int, int] | None = None

    def __init__(self) -> None:
        super().__init__(min_size=1, max_size=1, image_mean=list(MEAN), image_std=list(STD))

    def padded(self, images: Sequence[Tensor], targets: Sequence[Target] | None) -> Tensor:
        """A batch [B, 3, H, W] of images, padded to the frames that targets have."""
        self.frame = frame_of(targets)
        return self.batch_images([self.normalize(image) for image in images])

    def normalize(self, image: Tensor) -> Tensor:
        """See ``segkit.models.backbones.normalise``."""
        return normalise(image)

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """As it is: the loader resizes."""
        return image, target

    def batch_images(self, images: list[Tensor], size_divisible: int = STRIDES[-1]) -> Tensor:
        """A batch [B, 3, H, W] of images, padded to one frame."""
        if self.frame is not None:
            below, beside = (max(0, side - have) for side, have in zip(self.frame, images[0].shape[-2:], strict=True))
            images = [F.pad(images[0], (0, beside, 0, below)), *images[1:]]
        batched: Tensor = super().batch_images(images, size_divisible)
        return batched

    def postprocess(self, result: list[Any], image_shapes: Any, original_image_sizes: Any) -> list[Any]:
        """Masks in their boxes, as they are."""
        return [{**r, "masks": r["masks"][:, 0]} if "masks" in r else r for r in result]


class Pyramid(nn.Module):
    """A feature extractor with a feature pyramid (Lin et al. 2017, https://arxiv.org/abs/1612.03144).

    Its parameter names are those of torchvision's ``BackboneWithFPN``.
    """

    out_channels = 256

    def __init__(
        self,
        backbone: BackboneName,
        norm: NormName,
        eps: float,
        settings: DetectorSettings,
        above: Callable[[], nn.Module] = LastLevelMaxPool,
    ) -> None:
        """Build with random weights.

        Args:
            backbone: The feature extractor.
            norm: Its normalisation.
            eps: What its norms add to variances.
            settings: Has the levels of the pyramid, and its own normalisation.
            above: Makes further levels from the last ones.
        """
        super().__init__()
        self.body, channels = make_body(backbone, norm, [2**level for level in settings.fpn_levels], eps)
        self.fpn = FeaturePyramidNetwork(channels, self.out_channels, above(), norm_layer(settings))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps of 256 channels, "0" to "3" at strides 4 to 32 and "pool" at 64, of images [B, 3, H, W].

        With other levels than 2 to 5 there are other strides, and numbers from "0" on.
        """
        maps = self.body(images).values()
        out: dict[str, Tensor] = self.fpn({str(level): each for level, each in enumerate(maps)})
        return out


class LastLevelsByConvolution(LastLevelP6P7):  # type: ignore[misc]  # torchvision has no types
    """Two further levels, at strides 64 and 128 with a last map at stride 32; on a CPU in fp32.

    In bf16, oneDNN leaves the gradient of the weights unset where a convolution of stride 2 gets a map of one cell
    (torch 2.14, CPUs with bf16 instructions), as is usual here: most steps at 64 px were not finite, others wrong.
    """

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """See torchvision: maps of the pyramid, of the body, and their names; two are added to the first and last."""
        last = p[-1] if self.use_P5 else c[-1]
        if last.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                sixth = self.p6(last.float())
                seventh = self.p7(F.relu(sixth))
            return [*p, sixth, seventh], [*names, "p6", "p7"]
        out: tuple[list[Tensor], list[str]] = super().forward(p, c, names)
        return out


def is_traced() -> bool:
    """Whether a graph is being made of what runs, in which Python's loops would be unrolled."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def frame_of(targets: Sequence[Target] | None) -> tuple[int, int] | None:
    """The largest frame that targets say their batch is padded to."""
    frames = [target["frame"] for target in targets or () if "frame" in target]
    return (max(frame[0] for frame in frames), max(frame[1] for frame in frames)) if frames else None


def norm_layer(settings: DetectorSettings) -> Any:
    """The norm layer of the pyramid and the heads, or None."""
    return None if settings.head_norm is None else NORMS[settings.head_norm]
