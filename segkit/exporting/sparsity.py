"""Unstructured pruning: the smallest weights of a model become zero, wherever they are, and its shapes stay.

By ``torch.nn.utils.prune``, over all convolutions and fully connected layers together (Han et al. 2015,
https://arxiv.org/abs/1506.02626). The model card says so, and a training that starts from the checkpoint leaves what is
zero at zero (``SharedGradients.keep_zeros``).
"""

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils import prune

from segkit.errors import InputError
from segkit.models.card import ModelCard

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def without_weights(model: nn.Module, card: ModelCard, share: float) -> tuple[nn.Module, ModelCard]:
    """A copy of a model in which a share of the weights is zero, and its model card.

    Args:
        model: On the CPU; it stays as it is.
        card: Its model card.
        share: Of the weights of all layers, between 0 and 1; those that are zero already count.

    Raises:
        InputError: As many are zero already.
    """
    out = copy.deepcopy(model)
    weights = [(layer, "weight") for layer in out.modules() if isinstance(layer, _LAYERS)]
    total = sum(layer.weight.numel() for layer, _ in weights)
    zeros = sum(int((layer.weight == 0).sum()) for layer, _ in weights)
    if zeros >= round(share * total):
        raise InputError(
            f"--prune {share:g}: {zeros / total:.0%} of the weights are zero already", "give a larger share"
        )
    with torch.no_grad():
        prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)
    for layer, name in weights:
        prune.remove(layer, name)  # type: ignore[no-untyped-call]  # torch has no types there; zeros stay in the weight
    return out.eval(), replace(card, sparse=True)
