"""Losses of a U-Net: each equals its paper's formula on a case small enough to work out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from segkit.config.parsers import loss_terms, parse_loss, parse_weights_or_auto
from segkit.data.label_maps import IGNORED
from segkit.data.records import Annotation, Category, Dataset, Image
from segkit.models.losses import cross_entropy, distance_loss, focal, semantic_losses
from segkit.models.region_losses import cldice, dice, lovasz, soft_skeleton, tversky
from segkit.training.unet_defaults import median_frequency_weights

NAMES = ("ce", "dice", "focal", "tversky", "lovasz", "cldice")


def logits_of(probabilities):
    """[B, K + 1, H, W] whose softmax are the probabilities."""
    return torch.tensor(probabilities).log()


def four_pixels(foreground=(0.9, 0.6, 0.2, 0.3), target=(1, 1, 0, 1)):
    """An image of 1 x 4 pixels with one category."""
    p = torch.tensor(foreground)
    return torch.stack([1 - p, p])[None, :, None].log(), torch.tensor(target)[None, None]


def drawn(seed=0, batch=2, labels=4, side=12):
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(0, labels, (batch, side, side), generator=g)
    target[:, :2] = IGNORED
    return torch.randn(batch, labels, side, side, generator=g, requires_grad=True), target


def test_cross_entropy_weighs_and_smooths_as_that_of_torch():
    logits, target = drawn()
    weights = torch.tensor([1.0, 2.0, 0.5, 4.0])
    for given in (None, weights):
        for smoothing in (0.0, 0.2):
            each = [F.cross_entropy(one[None], there[None], given, ignore_index=IGNORED, label_smoothing=smoothing)
                    for one, there in zip(logits, target, strict=True)]  # fmt: skip
            ours = cross_entropy(logits, target, given, smoothing)
            assert ours.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def test_focal_loss_by_hand():
    logits, target = four_pixels()
    sure = (0.9, 0.6, 0.8, 0.3)  # of the right label
    each = [-((1 - p) ** 2) * math.log(p) for p in sure]
    assert focal(logits, target).item() == pytest.approx(sum(each) / 4, rel=1e-5)
    weighted = focal(logits, target, torch.tensor([1.0, 3.0]))
    expected = (3 * (each[0] + each[1] + each[3]) + each[2]) / 10
    assert weighted.item() == pytest.approx(expected, rel=1e-5)


def test_dice_and_tversky_by_hand():
    logits, target = four_pixels()
    # foreground: TP 1.8, probabilities 2.0, truth 3; background: TP 0.8, probabilities 2.0, truth 1
    assert dice(logits, target).item() == pytest.approx(((1 - 3.6 / 5.0) + (1 - 1.6 / 3.0)) / 2, rel=1e-5)
    index = [1.8 / (1.8 + 0.3 * 0.2 + 0.7 * 1.2), 0.8 / (0.8 + 0.3 * 1.2 + 0.7 * 0.2)]
    assert tversky(logits, target).item() == pytest.approx(1 - sum(index) / 2, rel=1e-5)
    weighted = tversky(logits, target, torch.tensor([1.0, 3.0]))
    assert weighted.item() == pytest.approx((3 * (1 - index[0]) + (1 - index[1])) / 4, rel=1e-5)


def test_lovasz_by_hand():
    """Errors of the foreground, the largest first: 0.7 (in), 0.4 (in), 0.2 (out), 0.1 (in)."""
    logits, target = four_pixels()
    # the IoU loss when the pixels up to each are wrong: 1/3, 2/3, 1 - 1/4, 1
    foreground = 0.7 * 1 / 3 + 0.4 * 1 / 3 + 0.2 * (3 / 4 - 2 / 3) + 0.1 * (1 - 3 / 4)
    # background has the same errors, and is at the third: 1 - 1/2, 1 - 1/3, 1, 1
    background = 0.7 * 1 / 2 + 0.4 * (2 / 3 - 1 / 2) + 0.2 * (1 - 2 / 3)
    assert lovasz(logits, target).item() == pytest.approx((foreground + background) / 2, rel=1e-5)


def test_lovasz_of_certain_errors_is_one_minus_the_iou():
    logits, target = four_pixels(foreground=(1e-7, 1 - 1e-7, 1 - 1e-7, 1 - 1e-7))
    assert lovasz(logits, target).item() == pytest.approx(((1 - 2 / 4) + 1) / 2, abs=1e-5)


def test_a_skeleton_is_the_centreline():
    line = torch.zeros(1, 1, 9, 12)
    line[..., 3:6, 1:11] = 1
    skeleton = soft_skeleton(line)
    assert skeleton[0, 0, 4, 2:10].tolist() == [1.0] * 8
    assert skeleton.sum() == 8


def test_cldice_counts_a_gap_by_the_length_of_the_line():
    target = torch.zeros(1, 7, 21, dtype=torch.int64)
    target[0, 2:5] = 1
    line = target.clone()
    line[0, :, 10] = 0  # a gap of one pixel, in 3 of 63 pixels
    certain = torch.stack([line == 0, line == 1], dim=1).float().clamp(1e-6, 1 - 1e-6)
    # the whole line's skeleton is 21 px (its ends are at the border), 20 of them inside; the broken one is inside
    score = 2 * 1 * (21 / 22) / (1 + 21 / 22)
    assert cldice(certain.log(), target).item() == pytest.approx(1 - score, abs=1e-3)
    assert cldice(four_pixels()[0], torch.zeros(1, 1, 4, dtype=torch.int64)).item() == 0  # background has no lines


def test_perfect_distances_have_a_loss_of_zero():
    distances = torch.tensor([[[0.02, 0.5, 1.0, 0.3]]])
    target = torch.tensor([[[1, 1, 1, IGNORED]]])
    perfect = torch.tensor([[[0.02, 0.5, 1 - 1e-6, 0.999]]]).logit()
    assert distance_loss(perfect, distances, target).item() == pytest.approx(0, abs=1e-5)
    other = distance_loss(torch.tensor([[[0.02, 0.9, 1 - 1e-6, 0.5]]]).logit(), distances, target)
    assert other.item() == pytest.approx((-0.5 * math.log(0.9) - 0.5 * math.log(0.1) + math.log(0.5)) / 3, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5, 4.0])])
def test_ignored_pixels_neither_count_nor_learn(name, weights):
    logits, target = drawn(side=16)
    loss = semantic_losses(name, logits, target, weights)[name]
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:, :, :2].abs().max() == 0
    assert logits.grad[:, :, 2:].abs().max() > 0
    changed = logits.detach().clone()
    changed[:, :, :2] += 3 * torch.randn(changed[:, :, :2].shape, generator=torch.Generator().manual_seed(1))
    assert semantic_losses(name, changed, target, weights)[name].item() == pytest.approx(loss.item(), rel=1e-5)
    nothing = semantic_losses(name, logits, torch.full_like(target, IGNORED), weights)[name]
    nothing.backward()
    assert nothing.item() == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_the_mean_of_those_of_the_images(name):
    logits, target = drawn(batch=3)
    alone = [semantic_losses(name, logits[i : i + 1], target[i : i + 1])[name] for i in range(3)]
    assert semantic_losses(name, logits, target)[name].item() == pytest.approx(sum(alone).item() / 3, rel=1e-5)


def test_a_sum_of_losses_has_their_factors():
    logits, target = drawn()
    found = semantic_losses("ce+0.5*dice", logits, target)
    assert list(found) == ["ce", "dice"]
    assert found["ce"].item() == pytest.approx(cross_entropy(logits, target).item())
    assert found["dice"].item() == pytest.approx(dice(logits, target).item() / 2)


def test_sums_of_losses_are_read():
    assert loss_terms(" ce + 0.5 * dice+2*cldice") == {"ce": 1.0, "dice": 0.5, "cldice": 2.0}
    assert parse_loss(" ce + 0.5 * dice") == "ce+0.5*dice"


@pytest.mark.parametrize("text", ["", "ce+", "l1", "0*ce", "-1*ce", "ce+ce", "ce*0.5", "1e9*ce", "ce dice", "nan*ce"])
def test_what_is_no_sum_of_losses_is_refused(text):
    with pytest.raises(ValueError, match="ce"):
        parse_loss(text)


@pytest.mark.parametrize("text", ["", "road", "road=0", "road=1,road=2", "road=inf", "=2"])
def test_what_are_no_class_weights_is_refused(text):
    with pytest.raises(ValueError, match=r"road|factor"):
        parse_weights_or_auto(text)


def test_auto_weights_are_the_median_frequency_by_that_of_the_label(tmp_path):
    images = (Image(1, "a", 10, 10), Image(2, "b", 10, 10))
    box = (0.0, 0.0, 1.0, 1.0)
    annotations = (
        Annotation(1, 1, 1, [], box, 20.0), Annotation(2, 2, 1, [], box, 40.0), Annotation(3, 2, 2, [], box, 5.0),
        Annotation(4, 1, 2, [], box, 30.0, iscrowd=1),
    )  # fmt: skip
    categories = (Category(1, "a"), Category(2, "b"), Category(3, "never"))
    # background: 50 + 55 of 200, a: 60 of 200, b: 5 of the 100 pixels of its image
    frequencies = 0.525, 0.3, 0.05
    found = median_frequency_weights(Dataset(images, annotations, categories, tmp_path))
    assert found == (*(pytest.approx(0.3 / each, abs=1e-4) for each in frequencies), 1.0)
    unlabelled = median_frequency_weights(Dataset(images, annotations, categories, tmp_path, "ignore"))
    assert unlabelled[0] == 1.0
