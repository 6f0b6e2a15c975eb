"""RF-DETR-Seg: transformers' network and losses under segkit's contract, and weights from folders and the hub."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_models import TINY_RFDETR, card_of, sharp
from real_steps import dataset_of, real_steps, rehearsed_steps
from test_batch_independence import picture
from test_one_stage import two_targets
from training import lines, losses, same_weights

from segkit.config.train import TrainConfig
from segkit.data.masks import rle_to_mask
from segkit.data.records import Category, Image
from segkit.errors import ConfigError, InputError
from segkit.models.adapt import freeze
from segkit.models.card import ModelCard
from segkit.models.rfdetr_settings import VARIANTS, configuration
from segkit.models.rfdetr_weights import published, read_for_rfdetr
from segkit.models.square import as_square, square_target
from segkit.models.tensors import prediction_to_results
from segkit.models.weights import load_weights
from segkit.training.plan import plan_without_folder
from segkit.training.rehearsal.batches import scenes_of
from segkit.training.train import train

CPU = torch.device("cpu")


def options(folder, **more):
    own = {"model": "rfdetr", "weights": str(folder), "size": 64, "batch": 2, "steps": 2, "eval_every": 1000}
    return own | {"device": "cpu", "precision": "fp32"} | more


def training_of(card):
    torch.manual_seed(0)
    return card.build().train()


def test_the_loss_of_a_picture_is_that_of_transformers():
    """Summed over names; the random points of both come from the same seed."""
    module = training_of(card_of("rfdetr"))
    image, target = picture(0, (64, 96)), two_targets()[0]
    found = module([image], [target])
    outputs = {}

    def keep(*values, **more):
        outputs.update(values=values)
        return values[0].sum(), {}, None

    module.network.loss_function = keep
    module([image], [target])
    wanted = square_target(target, image, 16)
    torch.manual_seed(target["seed"])
    theirs = type(module.network).loss_function.fget(_Plain(module.network.config))
    values = [value if name != 1 else [wanted] for name, value in enumerate(outputs["values"])]
    total, _, _ = theirs(*values)
    assert sum(found.values()).item() == pytest.approx(total.item(), rel=1e-4)
    assert set(found) == {"loss_classifier", "loss_box_reg", "loss_giou", "loss_mask", "loss_dice"}


class _Plain:
    loss_type = "RfDetrForInstanceSegmentation"

    def __init__(self, config):
        self.config = config


def test_the_loss_of_a_batch_is_the_mean_of_its_pictures():
    module = training_of(card_of("rfdetr"))
    images, targets = [picture(0, (64, 96)), picture(1, (50, 40))], two_targets()
    targets[1] |= {"masks": targets[1]["masks"][:, :50, :40], "boxes": torch.tensor([[10.0, 10, 40, 40], [0, 0, 4, 4]])}
    state = torch.get_rng_state()
    whole = module(images, targets)
    assert torch.equal(torch.get_rng_state(), state)
    each = [module([image], [target]) for image, target in zip(images, targets, strict=True)]
    for name, value in whole.items():
        assert value.item() == pytest.approx((each[0][name] + each[1][name]).item() / 2, rel=1e-3)


def test_a_step_with_numbers_that_are_none_is_not_finite_and_raises_nothing():
    module = training_of(card_of("rfdetr"))
    with torch.no_grad():
        module.network.model.bbox_embed.layers[0].weight.fill_(float("nan"))
    assert all(value.isnan() for value in module([picture(0, (64, 96))], two_targets()[:1]).values())


def test_a_picture_becomes_a_square_as_torch_interpolates():
    for size in ((64, 96), (33, 200), (1, 5), (7, 3)):
        image = picture(3, size).float()
        expected = F.interpolate(image[None], (48, 48), mode="bilinear", antialias=True, align_corners=False)[0]
        assert (as_square(image, 48) - expected).abs().max() < 1e-2


def test_targets_are_shares_of_cells_in_both_forms():
    masks = torch.zeros(2, 30, 20, dtype=torch.uint8)
    masks[0, 4:11, 3:14], masks[1, 29, 19] = 1, 1
    boxes, labels = torch.tensor([[3.0, 4, 14, 11], [19, 29, 20, 30]]), torch.tensor([2, 1])
    image = torch.zeros(3, 30, 20)
    whole = square_target({"boxes": boxes, "labels": labels, "masks": masks}, image, 8)
    flat = torch.cat([masks[0, 4:11, 3:14].flatten(), masks[1, 29:, 19:].flatten()])
    cut = square_target({"boxes": boxes, "labels": labels, "box_masks": flat, "seed": 3}, image, 8)
    assert torch.equal(whole["masks"], cut["masks"])
    assert cut["seed"] == 3
    exact = F.interpolate(masks[:, None].float(), (240, 160), mode="nearest")  # cells of 30 x 20 of these
    assert (whole["masks"] - F.avg_pool2d(exact, (30, 20))[:, 0]).abs().max() < 1e-5
    assert whole["boxes"][1].tolist() == pytest.approx([19.5 / 20, 29.5 / 30, 1 / 20, 1 / 30])


def test_masks_of_predictions_are_those_of_the_network_in_the_picture():
    """Upsampled to the picture and cut at a logit of 0, as transformers' post-processing has them."""
    module = sharp(card_of("rfdetr"))
    image = picture(5, (60, 90))
    with torch.inference_mode():
        found = module([image])[0]
        raw = module.network(pixel_values=as_square(_normal(image), 64)[None])
    results = prediction_to_results(found, Image(1, "p", 60, 90), 60, 90, (Category(1, "a"), Category(2, "b")),
                                    aligned_masks=True)  # fmt: skip
    best = raw.logits[0, :, 1:].sigmoid().flatten().topk(20)
    assert found["scores"].tolist() == pytest.approx(best.values[: len(found["scores"])].tolist(), abs=1e-4)
    whole = F.interpolate(raw.pred_masks, (60, 90), mode="bilinear", align_corners=False)[0] > 0
    compared = 0
    for result, index in zip(results, best.indices.tolist(), strict=False):
        theirs, ours = whole[index // 2].numpy(), np.asarray(rle_to_mask(result.segmentation)).astype(bool)
        if theirs.sum() > 100:
            compared += 1
            assert (ours & theirs).sum() / (ours | theirs).sum() > 0.9
    assert compared >= 5


def _normal(image):
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (image.float() / 255 - mean) / std


def test_overlapping_instances_are_dropped_where_that_is_asked_for():
    module = sharp(card_of("rfdetr"))
    with torch.inference_mode():
        before = module([picture(5, (60, 90))])[0]
        module.set_limits(0.3, 7)
        after = module([picture(5, (60, 90))])[0]
    assert module.limits() == (0.3, 7)
    assert 0 < len(after["boxes"]) < len(before["boxes"])


def test_a_card_goes_through_plain_values_and_cards_of_other_models_are_as_before():
    card = card_of("rfdetr")
    assert ModelCard.from_plain(json.loads(json.dumps(card.to_plain()))) == card
    assert "rfdetr" not in card_of("maskrcnn").to_plain()
    with pytest.raises(ValueError, match="without its numbers"):
        replace(card, rfdetr=None).build()


def test_published_sizes_have_the_numbers_of_their_weights():
    """Those of the conversion script in transformers' repository."""
    numbers = {name: (s.grid_size, s.num_windows, s.decoder_layers, s.num_queries) for name, s in VARIANTS.items()}
    assert numbers == {"nano": (312, 1, 4, 100), "small": (384, 2, 4, 100), "medium": (432, 2, 5, 200)}
    assert published(VARIANTS["small"]) == "Roboflow/rf-detr-seg-small"
    config = configuration(VARIANTS["nano"], 91)
    assert config.backbone_config.window_block_indexes == [0, 1, 2, 4, 5, 7, 8, 10, 11]
    assert (config.dropout, config.backbone_config.num_attention_heads, config.decoder_n_points) == (0.0, 6, 2)


def test_weights_of_a_folder_are_loaded_and_a_category_keeps_its_row(rfdetr_folder):
    card = replace(card_of("rfdetr"), categories=(Category(1, "cell"), Category(2, "new")))
    module = card.build()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    text = load_weights(module, str(rfdetr_folder), "rfdetr", "dinov2", ("cell", "new")).text
    given, own = read_for_rfdetr(str(rfdetr_folder), whole=True), module.state_dict()
    assert given.categories == ("N/A", "hole", "cell")
    assert given.rfdetr == TINY_RFDETR
    rows = [name for name in own if "class_embed" in name]
    assert len(rows) == 2 * 3
    assert all(torch.equal(own[n], value) for n, value in given.others.items() if n not in rows)
    for name in rows:
        assert torch.equal(own[name][1], given.others[name][3])
        assert torch.equal(own[name][2], before[name][2])
    assert "'new' starts at random" in text


def test_weights_come_from_the_cache_of_the_hub(rfdetr_folder, tmp_path, monkeypatch):
    import huggingface_hub

    snapshot = tmp_path / "models--someone--tiny/snapshots/0123456789012345678901234567890123456789"
    shutil.copytree(rfdetr_folder, snapshot)
    (tmp_path / "models--someone--tiny/refs").mkdir()
    (tmp_path / "models--someone--tiny/refs/main").write_text(snapshot.name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert read_for_rfdetr("someone/tiny", whole=True).rfdetr == TINY_RFDETR
    with pytest.raises(InputError, match="someone/else: the weights cannot be had") as caught:
        read_for_rfdetr("someone/else")
    assert "https://huggingface.co/someone/else" in caught.value.hint


def test_folders_of_something_else_are_refused(tmp_path, rfdetr_folder):
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(InputError, match="is a detr, not an rf_detr"):
        read_for_rfdetr(str(tmp_path))
    config = json.loads((rfdetr_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"decoder_activation_function": "gelu"}))
    with pytest.raises(InputError, match="its decoder_activation_function is 'gelu'"):
        read_for_rfdetr(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_for_rfdetr(str(tmp_path)).rfdetr == TINY_RFDETR
    with pytest.raises(InputError, match="not a folder of an RF-DETR-Seg"):
        read_for_rfdetr(str(tmp_path), whole=True)
    (tmp_path / "w.bin").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a file of weights") as caught:
        read_for_rfdetr(str(tmp_path / "w.bin"))
    assert "a folder with config.json" in caught.value.hint


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"backbone": "resnet18"}, "--backbone resnet18: rfdetr has its own, dinov2"),
        ({"norm": "group"}, "--norm group: rfdetr has layer norms alone"),
        ({"init": "kaiming"}, "--init kaiming: rfdetr starts as its authors' does"),
        ({"compile": True}, "--compile is not for rfdetr"),
        ({"anchor_sizes": (8, 16)}, "--anchor-sizes is for --model maskrcnn, fasterrcnn or panoptic; rfdetr has none"),
        ({"variant": "nano", "model": "unet"}, "--variant is for --model rfdetr; unet has none"),
        ({"variant": "nano", "model": "maskrcnn"}, "--variant is for --model rfdetr; maskrcnn has none"),
    ],
)
def test_options_of_other_models_are_refused(more, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**({"model": "rfdetr"} | more))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("instances", "more", "message"),
    [
        (3, {"size": 72}, "--size 72: must be a multiple of 16: patches of 8 pixels in 2 x 2 windows"),
        (3, {"size": 16, "given": frozenset(["size"])}, "--size 16: gives 4 patches for 12 queries"),
        (13, {}, "0001.png has 13 instances, and this rfdetr finds at most 12 in an image"),
        (3, {"detections": 13}, "--detections 13: this rfdetr finds at most 12"),
        (3, {"variant": "small"}, "is of another size"),
        (101, {"weights": "none", "size": 312}, "has 101 instances, and this rfdetr finds at most 100 in an image"),
        (3, {"model": "maskrcnn", "backbone": "dinov2", "weights": "none"}, "--backbone dinov2 is for --model rfdetr"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(rfdetr_folder, instances, more, message):
    data = dataset_of((64, 96, instances))
    with pytest.raises(ConfigError) as caught:
        plan_without_folder(TrainConfig(**options(rfdetr_folder, **more)), data, None, CPU, 1)
    assert message in caught.value.message
    if instances == 101:
        assert "--variant medium (200)" in caught.value.hint


def test_without_transformers_it_is_refused_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="--model rfdetr: the package transformers is not installed") as caught:
        plan_without_folder(TrainConfig(model="rfdetr"), dataset_of((64, 96, 3)), None, CPU, 1)
    assert caught.value.hint == 'pip install "segkit[transformers]"'


def test_open_options_are_those_of_the_variant():
    data = dataset_of((64, 96, 3))
    plan = plan_without_folder(TrainConfig(model="rfdetr", variant="medium"), data, None, CPU, 1)
    config = plan.config
    assert (config.size, config.weights, config.variant, config.detections) == (432, "coco", "medium", 200)
    assert (config.lr, config.clip_grad, config.freeze) == (1e-4, 0.1, ("none",))
    assert plan.card.rfdetr == VARIANTS["medium"]


def test_the_loss_of_a_unet_is_said_to_have_no_effect_on_others():
    data, more = dataset_of((64, 96, 3)), {"model": "maskrcnn", "weights": "none", "backbone": "resnet18"}
    notes = [plan_without_folder(TrainConfig(**more | own), data, None, CPU, 1).notes for own in ({}, {"loss": "dice"})]
    assert [any("--loss dice has no effect" in note for note in each) for each in notes] == [False, True]


def test_layers_are_chosen_by_name():
    module = card_of("rfdetr").build()
    freeze(module, ("backbone",))
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    assert all(name.startswith("network.model.model.backbone.backbone.") for name in frozen)
    assert len(frozen) > 10
    with pytest.raises(ConfigError, match="--freeze stem: a transformer has none"):
        freeze(card_of("rfdetr").build(), ("stem",))


def test_it_trains_goes_on_to_the_bit_scores_and_predicts(rfdetr_folder, dataset, here, segkit):
    own = options(rfdetr_folder, dataset=dataset, out=here / "runs", augment="medium", schedule="constant", warmup=0)
    whole = train(TrainConfig(**own | {"name": "whole", "steps": 2}))
    first = train(TrainConfig(**own | {"name": "again", "steps": 1}))
    train(TrainConfig(resume=str(first.run), steps=2, device="cpu"))
    assert same_weights(whole.run, first.run)
    assert [line["loss"] for line in lines(whole.run)] == [line["loss"] for line in lines(first.run)]
    assert all(np.isfinite(list(each.values())).all() for each in losses(whole.run))
    assert segkit("eval", "--json").code == 0
    outcome = segkit("predict", dataset / "images", "--score", 0.01, "--format", "coco")
    assert outcome.code == 0, outcome.err


def test_memory_low_learns_the_same():
    steps = []
    for low in (False, True):
        module = training_of(card_of("rfdetr"))
        if low:
            module.save_memory()
        sum(module([picture(0, (64, 96))], two_targets()[:1]).values()).backward()
        steps.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert torch.allclose(*steps, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rehearsed_step_needs_what_a_real_one_does(rfdetr_folder, precision):
    data = dataset_of((64, 96, 5), (80, 60, 2))
    config = TrainConfig(**options(rfdetr_folder, precision=precision, augment="none"))
    plan = plan_without_folder(config, data, None, CPU, 1, {"fp32": None, "bf16": torch.bfloat16}[precision])
    scenes = scenes_of(plan, 2)[:1]
    real, rehearsed = real_steps(plan, scenes, 2), rehearsed_steps(plan, scenes, 2)
    assert rehearsed[0] >= real.peaks[0] * 0.98
    assert rehearsed[0] <= real.peaks[0] * 1.3


@pytest.mark.slow
def test_two_ranks_share_a_batch(rfdetr_folder, dataset, tmp_path):
    own = options(rfdetr_folder, dataset=dataset, out=tmp_path, batch=4, steps=3, augment="medium")
    one, two = train(TrainConfig(**own)), train(TrainConfig(**own | {"ranks": 2}))
    for a, b in zip(lines(one.run), lines(two.run), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4 if a["step"] <= 2 else 1e-2)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3 if a["step"] <= 2 else 5e-2)


@pytest.mark.slow
def test_it_learns_one_picture_by_heart():
    module = training_of(card_of("rfdetr"))
    image, target = torch.full((3, 64, 96), 40, dtype=torch.uint8), two_targets()[0]
    for mask, colour in zip(target["masks"], (120, 220), strict=True):
        image[:, mask.bool()] = colour
    optimizer = torch.optim.AdamW(module.parameters(), 2e-3)
    for _ in range(300):
        optimizer.zero_grad()
        sum(module([image], [target]).values()).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
    with torch.inference_mode():
        found = module.eval()([image])[0]
    categories = (Category(1, "a"), Category(2, "b"))
    results = prediction_to_results(found, Image(1, "p", 64, 96), 64, 96, categories, aligned_masks=True)
    for number, mask in enumerate(target["masks"].bool().numpy(), 1):
        best = next(result for result in results if result.category_id == number)
        mine = np.asarray(rle_to_mask(best.segmentation)).astype(bool)
        assert (mine & mask).sum() / (mine | mask).sum() > 0.8
