"""Structured pruning: the channels of a model that matter least are removed for real.

Channels are coupled: an output of one layer is an input of others, and of sums on the way. torch-pruning finds what
goes together (Fang et al. 2023, https://arxiv.org/abs/2301.12900). Of each such group the channels go whose weights are
the smallest by their L2 norm (Li et al. 2017, https://arxiv.org/abs/1608.08710). What leaves a model stays as it is:
the outputs of heads, and the maps of a detector's pyramid, which the code around them expects with 256 channels.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

from segkit.errors import InputError, SegkitError
from segkit.extras import extra_package
from segkit.models.card import ModelCard
from segkit.models.unet import UNet
from segkit.models.widths import widths_of

_SIDE = 128  # of the image on which the layers are followed
_MASK_SIDE = 14  # of a region as the mask head gets it
_MOST_DIFFERENCE = 1e-3
_MULTIPLE = 8  # of channels: a kernel that computes so many at once is slow with others
_PRUNED = ("maskrcnn", "fasterrcnn", "unet")


class _Layers(nn.Module):
    """The layers of a model as one function of tensors, without what chooses regions between them."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        """All that leaves the layers, of normalised images [B, C, H, W]."""
        if isinstance(self.model, UNet):
            return [self.model.logits(images)]
        maps = list(self.model.backbone(images).values())
        scores, boxes = self.model.rpn.head(maps)
        heads = self.model.roi_heads
        region = F.adaptive_avg_pool2d(maps[0], heads.box_roi_pool.output_size)
        found = [*maps, *scores, *boxes, *heads.box_predictor(heads.box_head(region))]
        if isinstance(heads.mask_predictor, MaskRCNNPredictor):
            found.append(heads.mask_predictor(heads.mask_head(F.adaptive_avg_pool2d(maps[0], _MASK_SIDE))))
        return found

    def kept(self) -> Iterator[nn.Module]:
        """The layers whose outputs stay as they are."""
        for name, layer in self.model.named_modules():
            own = any(name.startswith(f"{each}.") or name == each for each in self.model.rows_per_category)
            if own or name.startswith(("distance", "backbone.fpn.layer_blocks", "rpn.head.cls", "rpn.head.bbox")):
                yield layer


def without_channels(model: nn.Module, card: ModelCard, share: float) -> tuple[nn.Module, ModelCard]:
    """A copy of a model without a share of its channels, and its model card.

    Args:
        model: On the CPU; it stays as it is.
        card: Its model card.
        share: Of the channels of each layer, between 0 and 1.

    Raises:
        InputError: Models of this kind are not pruned, or the package that does it is not installed.
        SegkitError: The layers that are left do not compute what they did in torch-pruning's hands.
    """
    if card.model not in _PRUNED:
        raise InputError(f"--prune: is not for a {card.model}", f"prune one of {', '.join(_PRUNED)}")
    if "group" in (card.norm, card.settings.head_norm):
        raise InputError("--prune: is not for group norms, whose groups would change", "train with --norm batch")
    if card.backbone.startswith("convnext"):
        raise InputError(f"--prune: is not for {card.backbone}, which has layer norms", "use another --backbone")
    pruning = extra_package("torch_pruning", "--prune", "prune")
    layers = _Layers(_with_plain_norms(model, card)).eval()
    example = torch.rand(1, card.channels, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    pruner = pruning.pruner.MagnitudePruner(
        layers,
        example,
        importance=pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share,
        pruning_ratio_dict={layer: _rounded(share, count) for layer, count in _counts(layers)},
        ignored_layers=list(layers.kept()),
    )
    pruner.step()
    own = replace(card, widths=())
    smaller = replace(card, widths=widths_of(layers.model, own.build()))
    out = smaller.build().eval()
    given = layers.model.state_dict()
    out.load_state_dict({name: given[name] for name in out.state_dict()})
    _check(_Layers(out), layers, example)
    return out, smaller


def _counts(layers: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """The layers that have output channels, and how many."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            yield layer, layer.out_channels
        elif isinstance(layer, nn.Linear):
            yield layer, layer.out_features


def _rounded(share: float, count: int) -> float:
    """The share of channels to remove so that a multiple of eight is left, and no fewer."""
    left = max(_MULTIPLE, round(count * (1 - share) / _MULTIPLE) * _MULTIPLE)
    return max(0.0, 1 - (left + 0.5) / count)  # torch-pruning rounds down what is left


def _with_plain_norms(model: nn.Module, card: ModelCard) -> Any:
    """A copy whose frozen norms are ordinary ones, which torch-pruning knows."""
    settings = card.settings
    if settings.head_norm is not None:
        settings = replace(settings, head_norm="batch")
    plain = replace(card, norm="batch", settings=settings).build().eval()
    plain.load_state_dict(model.state_dict(), strict=False)  # frozen norms do not count batches
    return plain


@torch.no_grad()
def _check(one: _Layers, other: _Layers, images: Tensor) -> None:
    """Check that two models compute the same.

    Raises:
        SegkitError: They do not.
    """
    worst = max(
        float((a - b).abs().max() / (1 + b.abs().max())) for a, b in zip(one(images), other(images), strict=True)
    )
    if not worst <= _MOST_DIFFERENCE:
        raise SegkitError(f"--prune: the layers that are left differ by {worst:.2g} from what they were to compute")
