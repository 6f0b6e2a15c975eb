"""Weights are what they say: files are recognised by their tensors, and parts of a model load as a whole or not."""

import re

import pytest
import torch
import torchvision
from made_weights import card, loaded, saved
from training import config

from segkit.config.train import TrainConfig
from segkit.errors import ConfigError
from segkit.formats.dataset_folder import open_split
from segkit.models.card import ModelCard
from segkit.models.weight_files import read_weight_file
from segkit.training.plan import plan_without_folder
from segkit.training.train import train


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "mobilenet_v2", "mobilenet_v3_large"])
def test_the_state_dict_of_a_classifier_is_recognised_by_its_tensors(tmp_path, name):
    torch.save(getattr(torchvision.models, name)(weights=None).state_dict(), tmp_path / "w.pth")
    assert read_weight_file(tmp_path / "w.pth").backbone == name


@pytest.mark.parametrize("model", ["maskrcnn", "unet"])
def test_a_classifier_loads_into_the_backbone(tmp_path, resnet18, model):
    torch.save(resnet18, tmp_path / "w.pth")
    made = card("a", model=model)
    _, now, found = loaded(made, tmp_path / "w.pth")
    prefix = "body." if model == "unet" else "backbone.body."
    body = {name.removeprefix(prefix): value for name, value in now.items() if name.startswith(prefix)}
    assert all(torch.equal(value, resnet18[name]) for name, value in body.items())
    assert found.random == {name for name in now if not name.startswith(prefix)} - {
        name for name in now if name.endswith("num_batches_tracked")
    }
    assert found.text.startswith(f"{tmp_path / 'w.pth'} (resnet18, ")


WRAPPED = {
    "state_dict": lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"lr": 1.0}},
    "model_state_dict": lambda s: {"model_state_dict": s},
    "model": lambda s: {"model": s, "lr": 0.1},
    "module.": lambda s: {f"module.{name}": value for name, value in s.items()},
    "_orig_mod.": lambda s: {f"_orig_mod.{name}": value for name, value in s.items()},
    "lightning": lambda s: {
        "state_dict": {f"model.{name}": value for name, value in s.items()} | {"loss.weight": torch.ones(3)}
    },
    "compiled and parallel": lambda s: {"state_dict": {f"module._orig_mod.{name}": value for name, value in s.items()}},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_known_wrappers_are_removed(tmp_path, resnet18, how):
    torch.save(WRAPPED[how](resnet18), tmp_path / "w.pth")
    found = read_weight_file(tmp_path / "w.pth")
    assert found.backbone == "resnet18"
    assert torch.equal(found.body["conv1.weight"], resnet18["conv1.weight"])
    assert found.notes


def test_the_backbone_is_that_of_the_file_and_another_is_refused(dataset, tmp_path, resnet18, segkit):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "w.pth")
    some = config(dataset, tmp_path, model="unet", weights=str(tmp_path / "w.pth"), steps=1)
    run = train(TrainConfig(**{f: getattr(some, f) for f in some.given_options() - {"backbone"}})).run
    assert torch.load(run / "last.pt", weights_only=True)["card"]["backbone"] == "resnet34"
    outcome = segkit("train", dataset, "--weights", tmp_path / "w.pth", "--backbone", "resnet18", "--device", "cpu")
    assert outcome.code == 1
    assert "w.pth: its feature extractor is a resnet34, not a resnet18\nhint: use --backbone resnet34" in outcome.err


@pytest.mark.parametrize("name", ["maskrcnn", "fasterrcnn"])
def test_the_second_version_of_a_detector_loads_into_its_own_architecture(dataset, tmp_path, name):
    theirs = getattr(torchvision.models.detection, f"{name}_resnet50_fpn_v2")(weights=None, weights_backbone=None)
    state = theirs.state_dict()
    torch.save(state, tmp_path / "w.pth")
    given = {"backbone": None, "model": name, "weights": str(tmp_path / "w.pth")}
    plan = plan_without_folder(
        config(dataset, tmp_path, **given), open_split(dataset, "train"), None, torch.device("cpu"), 1
    )
    assert (plan.card.backbone, plan.config.heads, plan.card.settings.head_norm) == ("resnet50", "v2", "frozen")
    assert ModelCard.from_plain(plan.card.to_plain()) == plan.card
    _, now, found = loaded(plan.card, tmp_path / "w.pth")
    assert found.random
    assert all("predictor" in each for each in found.random)
    same = now.keys() - found.random
    assert all(torch.equal(now[each], state[each]) for each in same)
    assert now.keys() == {each for each in state if not each.endswith("num_batches_tracked")}


def test_a_file_of_the_other_version_gives_the_feature_extractor(tmp_path):
    saved(tmp_path / "w.pt", card("a", head_norm="batch"))
    _, _, found = loaded(card("a"), tmp_path / "w.pt")
    assert "backbone.fpn, rpn.head, roi_heads.box_head, roi_heads.mask_head start at random" in found.text
    assert not any(each.startswith("backbone.body") for each in found.random)


@pytest.mark.parametrize(
    ("weights", "norm", "expected"),
    [("none", "batch", "batch"), ("none", "group", "group"), ("imagenet", "frozen", "batch"),
     ("coco", "frozen", "frozen")],
)  # fmt: skip
def test_norms_of_heads_are_frozen_only_where_weights_bring_statistics(dataset, tmp_path, weights, norm, expected):
    some = config(dataset, tmp_path, weights=weights, norm=norm, heads="v2", backbone="resnet50")
    plan = plan_without_folder(some, open_split(dataset, "train"), None, torch.device("cpu"), 1)
    assert plan.card.settings.head_norm == expected


def test_weights_keep_what_their_norms_added_to_variances(dataset, tmp_path):
    """torchvision sets eps to 0 for its published files of the first version; MobileNetV3's classifiers have 1e-3."""
    theirs = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    old = {
        name.replace(".0.weight", ".weight").replace(".0.bias", ".bias") if ".fpn." in name else name: value
        for name, value in theirs.items()
    }
    torch.save(theirs, tmp_path / "own.pth")
    torch.save(old, tmp_path / "published.pth")
    torch.save(torchvision.models.mobilenet_v3_large(weights=None).state_dict(), tmp_path / "mobile.pth")
    cases = [
        ("none", "mobilenet_v3_large", 1e-5), ("imagenet", "mobilenet_v3_large", 1e-3), ("coco", "resnet50", 0.0),
        (tmp_path / "own.pth", "resnet50", 1e-5), (tmp_path / "published.pth", "resnet50", 0.0),
        (tmp_path / "mobile.pth", "mobilenet_v3_large", 1e-3),
    ]  # fmt: skip
    for weights, backbone, expected in cases:
        some = config(dataset, tmp_path, weights=str(weights), backbone=backbone)
        plan = plan_without_folder(some, open_split(dataset, "train"), None, torch.device("cpu"), 1)
        assert plan.card.norm_eps == expected
        assert {norm.eps for norm in plan.card.build().modules() if hasattr(norm, "running_var")} == {expected}


def test_heads_are_kept_by_the_names_of_categories(tmp_path):
    theirs = saved(tmp_path / "w.pt", card("cat", "dog", "cow"))
    heads = {
        "roi_heads.box_predictor.cls_score.weight": 1, "roi_heads.box_predictor.bbox_pred.bias": 4,
        "roi_heads.mask_predictor.mask_fcn_logits.weight": 1,
    }  # fmt: skip
    before, now, _ = loaded(card("x", "y", "z"), tmp_path / "w.pt")
    assert all(torch.equal(now[name], before[name]) for name in heads)  # as many categories, but others
    before, now, found = loaded(card("cow", "hen", "cat"), tmp_path / "w.pt")
    for name, rows in heads.items():
        ours, given = (state[name].unflatten(0, (-1, rows)) for state in (now, theirs))
        assert torch.equal(ours[0], given[0])
        assert torch.equal(ours[1], given[3])
        assert torch.equal(ours[3], given[1])
        assert torch.equal(ours[2], before[name].unflatten(0, (-1, rows))[2])
    assert "'hen' starts at random" in found.text
    _, now, found = loaded(card("cat", "dog", "cow"), tmp_path / "w.pt")
    assert all(torch.equal(now[name], theirs[name]) for name in now)
    assert "random" not in found.text
    assert not found.random


def test_heads_of_a_file_without_names_start_at_random(tmp_path):
    torch.save(saved(tmp_path / "w.pt", card("a", "b")), tmp_path / "plain.pt")
    _, _, found = loaded(card("a", "b"), tmp_path / "plain.pt")
    assert {name.rpartition(".")[0] for name in found.random} == {
        "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }  # fmt: skip


def test_older_names_of_torchvisions_layers_are_known(tmp_path):
    """The published files have them; torchvision renames them while it loads."""
    new = saved(tmp_path / "w.pt", card("a"))
    old = {}
    for name, value in new.items():
        renamed = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if name.startswith("backbone.fpn."):
            renamed = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        if name.startswith("roi_heads.mask_head."):
            renamed = f"roi_heads.mask_head.mask_fcn{int(name.split('.')[2]) + 1}.{name.rpartition('.')[2]}"
        old[renamed] = value
    torch.save(old, tmp_path / "old.pth")
    _, now, _ = loaded(card("a"), tmp_path / "old.pth")
    same = [name for name in now if torch.equal(now[name], new[name])]
    assert all(name in same for name in now if name.startswith(("backbone.fpn", "rpn", "roi_heads.mask_head")))


def detectron2_names(state):
    """A detector's tensors as detectron2 names them."""
    out = {}
    for name, value in state.items():
        words = name.split(".")
        if name.startswith("backbone.body.layer"):
            stage, block, layer, end = int(words[2][5:]) + 1, words[3], ".".join(words[4:-1]), words[-1]
            layer = {"downsample.0": "shortcut", "downsample.1": "shortcut.norm"}.get(layer, layer)
            layer = f"conv{layer[2]}.norm" if layer.startswith("bn") else layer
            out[f"backbone.bottom_up.res{stage}.{block}.{layer}.{end}"] = value
        elif name.startswith("backbone.body.bn1"):
            out[f"backbone.bottom_up.stem.conv1.norm.{words[-1]}"] = value
        elif name.startswith("backbone.body.conv1"):
            out["backbone.bottom_up.stem.conv1.weight"] = value
        elif name.startswith("backbone.fpn"):
            kind = "lateral" if "inner" in name else "output"
            out[f"backbone.fpn_{kind}{int(words[3]) + 2}.{words[-1]}"] = value
        elif name.startswith("rpn.head"):
            kind = {"conv": "conv", "cls_logits": "objectness_logits", "bbox_pred": "anchor_deltas"}[words[2]]
            out[f"proposal_generator.rpn_head.{kind}.{words[-1]}"] = value
        elif name.startswith("roi_heads.box_head"):
            out[f"roi_heads.box_head.fc{int(words[2][2]) - 5}.{words[-1]}"] = value
        elif name.startswith("roi_heads.mask_head"):
            out[f"roi_heads.mask_head.mask_fcn{int(words[2]) + 1}.{words[-1]}"] = value
        elif name.startswith("roi_heads.mask_predictor.conv5"):
            out[f"roi_heads.mask_head.deconv.{words[-1]}"] = value
    return out | {"roi_heads.box_predictor.cls_score.weight": torch.zeros(2, 1024)}


def test_detectron2s_names_are_mapped(tmp_path):
    theirs = saved(tmp_path / "w.pt", card("a"))
    torch.save({"model": detectron2_names(theirs), "iteration": 5}, tmp_path / "d2.pth")
    _, now, found = loaded(card("a"), tmp_path / "d2.pth")
    other = {name for name in now if not torch.equal(now[name], theirs[name])}
    assert other == found.random | {"backbone.body.conv1.weight"}
    assert all("predictor" in name for name in found.random)
    assert "under model, detectron2's names; where its models stride and align regions otherwise" in found.text
    # its pictures are BGR in 0..255: the first convolution gives the same from normalised RGB
    image = torch.rand(1, 3, 8, 8)
    std = torch.tensor([0.229, 0.224, 0.225])[None, :, None, None]
    ours = torch.nn.functional.conv2d(image / std, now["backbone.body.conv1.weight"])
    assert torch.allclose(ours, torch.nn.functional.conv2d(image.flip(1) * 255, theirs["backbone.body.conv1.weight"]),
                          rtol=1e-4, atol=1e-3)  # fmt: skip


def mmdetection_names(state):
    """A detector's tensors as mmdetection names them."""
    rules = [
        (r"^backbone\.body\.", "backbone."), (r"^backbone\.fpn\.inner_blocks\.(\d)\.0", r"neck.lateral_convs.\1.conv"),
        (r"^backbone\.fpn\.layer_blocks\.(\d)\.0", r"neck.fpn_convs.\1.conv"),
        (r"^rpn\.head\.conv\.0\.0", "rpn_head.rpn_conv"), (r"^rpn\.head\.cls_logits", "rpn_head.rpn_cls"),
        (r"^rpn\.head\.bbox_pred", "rpn_head.rpn_reg"),
        (r"^roi_heads\.box_head\.fc6", "roi_head.bbox_head.shared_fcs.0"),
        (r"^roi_heads\.box_head\.fc7", "roi_head.bbox_head.shared_fcs.1"),
        (r"^roi_heads\.box_predictor\.cls_score", "roi_head.bbox_head.fc_cls"),
        (r"^roi_heads\.box_predictor\.bbox_pred", "roi_head.bbox_head.fc_reg"),
        (r"^roi_heads\.mask_head\.(\d)\.0", r"roi_head.mask_head.convs.\1.conv"),
        (r"^roi_heads\.mask_predictor\.conv5_mask", "roi_head.mask_head.upsample"),
        (r"^roi_heads\.mask_predictor\.mask_fcn_logits", "roi_head.mask_head.conv_logits"),
    ]  # fmt: skip
    out = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        out[name] = value
    return out


def test_mmdetections_names_are_mapped(tmp_path):
    theirs = saved(tmp_path / "w.pt", card("a"))
    torch.save({"meta": {"epoch": 12}, "state_dict": mmdetection_names(theirs)}, tmp_path / "mm.pth")
    _, now, found = loaded(card("a"), tmp_path / "mm.pth")
    assert {name for name in now if not torch.equal(now[name], theirs[name])} <= found.random
    assert {name.rpartition(".")[0] for name in found.random} == {
        "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
    }  # fmt: skip
    assert "under state_dict, mmdetection's names" in found.text


def test_anchors_follow_the_weights(dataset, tmp_path):
    sizes, training = (8, 16, 32, 64, 128), open_split(dataset, "train")
    saved(tmp_path / "w.pt", card("a", anchor_sizes=sizes))
    for weights, expected in (("none", (16, 32, 64, 128, 256)), (str(tmp_path / "w.pt"), sizes)):
        some = config(dataset, tmp_path, weights=weights)
        plan = plan_without_folder(some, training, None, torch.device("cpu"), 1)
        assert plan.card.settings.anchor_sizes == expected


def test_group_norm_over_weights_of_batch_norm_is_refused(here, dataset, segkit, resnet18):
    torch.save(resnet18, "w.pth")
    outcome = segkit("train", dataset, "--weights", "w.pth", "--norm", "group", "--device", "cpu", "--steps", 1)
    assert outcome.code == 1
    assert "error: --norm group: the weights (w.pth) were made with batch norm" in outcome.err
    assert "--norm frozen" in outcome.err


def test_a_layer_that_starts_at_random_is_not_frozen(dataset, tmp_path, resnet18):
    torch.save(resnet18, tmp_path / "w.pth")
    some = config(dataset, tmp_path, weights=str(tmp_path / "w.pth"), freeze=("backbone", "rpn"), steps=1)
    with pytest.raises(ConfigError, match=r"--freeze backbone,rpn: rpn.* starts at random and would never learn"):
        train(some)
