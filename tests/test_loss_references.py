"""Losses of a U-Net beside those of MONAI and segmentation_models_pytorch: bash tests/references.sh."""

import pytest
import torch

from segkit.models.losses import focal
from segkit.models.region_losses import cldice, dice, lovasz, soft_skeleton, tversky

SEEDS = range(10)


def drawn(seed, labels=4):
    """Logits and a target of one image, in which every label occurs."""
    g = torch.Generator().manual_seed(seed)
    blocks = torch.arange(16 * 16).reshape(16, 16) % labels
    target = blocks[torch.randperm(16, generator=g)].repeat_interleave(3, 0).repeat_interleave(3, 1)[None]
    return 2 * torch.randn(1, labels, 48, 48, generator=g), target


def of_monai(name, logits, target, **options):
    losses = pytest.importorskip("monai.losses")
    return getattr(losses, name)(to_onehot_y=True, **options)(logits, target[:, None]).item()


@pytest.mark.parametrize("seed", SEEDS)
def test_dice_and_tversky_equal_those_of_monai(seed):
    logits, target = drawn(seed)
    exact = {"softmax": True, "smooth_nr": 0.0, "smooth_dr": 0.0}
    assert dice(logits, target).item() == pytest.approx(of_monai("DiceLoss", logits, target, **exact), abs=1e-6)
    index = of_monai("TverskyLoss", logits, target, alpha=0.3, beta=0.7, **exact)
    assert tversky(logits, target).item() == pytest.approx(index, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_focal_equals_that_of_monai(seed):
    """MONAI's is the mean over labels as well; a pixel's loss is that of its own label, so that it is K + 1 of it."""
    logits, target = drawn(seed)
    theirs = of_monai("FocalLoss", logits, target, use_softmax=True, gamma=2.0) * logits.shape[1]
    assert focal(logits, target).item() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_cldice_equals_that_of_monai(seed):
    """One category beside background: MONAI sums over the labels before it divides, segkit divides for each."""
    module = pytest.importorskip("monai.losses.cldice")
    logits, target = drawn(seed, labels=2)
    probability, truth = logits.softmax(1)[:, 1:], (target == 1)[:, None].float()
    assert torch.allclose(soft_skeleton(probability), module.soft_skel(probability, 5), atol=1e-6)
    loss = module.SoftclDiceLoss(iter_=5, smooth=1e-9, smooth_nr=1.0, smooth_dr=1.0)
    theirs = loss(probability, truth).item()
    assert cldice(logits, target).item() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_lovasz_equals_that_of_segmentation_models(seed):
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, target = drawn(seed)
    theirs = losses.LovaszLoss("multiclass", per_image=True)(logits, target).item()
    assert lovasz(logits, target).item() == pytest.approx(theirs, abs=1e-6)
