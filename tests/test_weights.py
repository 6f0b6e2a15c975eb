"""Weights are what they say: files are recognised by their tensors, and parts of a model load as a whole or not."""

import importlib.machinery
import json
import os
import pickle
import re
import struct
import sys
import types
import zipfile
from dataclasses import replace
from functools import partial

import pytest
import torch
import torchvision
from training import config

from segkit.config.train import TrainConfig
from segkit.data.geometry import Framing
from segkit.data.records import Category
from segkit.errors import ConfigError, InputError
from segkit.formats.dataset_folder import open_split
from segkit.models.backbones import normalise
from segkit.models.card import ModelCard
from segkit.models.detector_settings import DetectorSettings
from segkit.models.efficientnet_lite import EfficientNetLite
from segkit.models.packaged_weights import PACKAGED, packaged_file
from segkit.models.weight_files import read_weight_file
from segkit.models.weights import load_weights
from segkit.training.plan import plan_without_folder
from segkit.training.train import train


def card(*names, model="maskrcnn", backbone="resnet18", norm="frozen", **settings):
    kind = "semantic" if model == "unet" else "instances"
    categories = tuple(Category(number, name) for number, name in enumerate(names, 1))
    return ModelCard(
        model, backbone, norm, "ce", DetectorSettings(**settings), Framing(kind, 64, 64), categories, "background"
    )


def saved(path, made):
    """A checkpoint as segkit writes it, of a model whose weights are random; its state dict."""
    torch.manual_seed(3)
    state = made.build().state_dict()
    torch.save({"card": made.to_plain(), "model": state, "step": 1}, path)
    return state


def loaded(made, weights, backbone=None):
    torch.manual_seed(4)
    module = made.build()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    names = [category.name for category in made.categories]
    found = load_weights(module, str(weights), made.model, backbone or made.backbone, names)
    return before, module.state_dict(), found


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(1)
    return torchvision.models.resnet18(weights=None).state_dict()


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


def test_safetensors_are_read(tmp_path, resnet18):
    header, values = {"__metadata__": {"format": "pt"}}, b""
    for name, value in resnet18.items():
        raw = value.numpy().tobytes()
        kind = {torch.float32: "F32", torch.int64: "I64"}[value.dtype]
        header[name] = {
            "dtype": kind, "shape": list(value.shape), "data_offsets": [len(values), len(values) + len(raw)]
        }  # fmt: skip
        values += raw
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values)
    found = read_weight_file(tmp_path / "w.safetensors", check=True)
    assert all(torch.equal(found.body[name], value) for name, value in resnet18.items())
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values[:-1000])
    with pytest.raises(InputError, match="not a file of weights that can be read safely"):
        read_weight_file(tmp_path / "w.safetensors")


class Runs:
    """Pickled, it would write a file when it is read."""

    def __reduce__(self):
        return open, ("ran", "w")


def bad_file(path, kind, state):
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "noise":
            path.write_bytes(bytes(range(256)) * 9)
        case "pickle":
            path.write_bytes(pickle.dumps({"model": Runs()}))
        case "object":
            torch.save(Runs(), path)
        case "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.txt", "a")
        case "cut off":
            torch.save(state, path)
            path.write_bytes(path.read_bytes()[:9999])
        case "folder":
            path.mkdir()
        case "list":
            torch.save([torch.ones(3)], path)
        case "in itself":
            content = {"state_dict": {"epoch": 3}}
            content["model"] = content["state_dict"]["model"] = content
            torch.save(content, path)
        case "in itself, with a tensor":
            content = {"epoch": torch.ones(1)}
            content["model"] = content
            torch.save(content, path)
        case "pipe":
            os.mkfifo(path)
        case "sparse":
            torch.save(state | {"conv1.weight": state["conv1.weight"].to_sparse()}, path)
        case "without values":
            torch.save({name: value.to("meta") for name, value in state.items()}, path)
        case "complex":
            torch.save({name: value.to(torch.complex64) for name, value in state.items()}, path)
        case "half":
            torch.save({name: value for name, value in state.items() if "layer4" not in name}, path)
        case "not finite":
            torch.save(state | {"fc.bias": torch.full((1000,), float("nan"))}, path)


BAD_FILES = (
    "empty", "noise", "pickle", "object", "zip", "cut off", "folder", "list", "in itself", "in itself, with a tensor",
    "pipe", "sparse", "without values", "complex", "half", "not finite",
)  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_holds_no_weights_is_refused_in_one_line(here, dataset, segkit, resnet18, kind):
    bad_file(here / "w.pth", kind, resnet18)
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", "w.pth", "--device", "cpu", "--steps", 1, "--size", 64
    )
    assert outcome.code == 1
    assert "error: w.pth: " in outcome.err
    assert "Traceback" not in outcome.err
    assert not (here / "ran").exists()
    assert not (here / "runs").exists()


def test_tensors_in_a_type_for_storage_are_read(tmp_path, resnet18):
    small = {name: v.to(torch.float8_e4m3fn) if v.ndim == 4 else v for name, v in resnet18.items()}
    torch.save(small, tmp_path / "w.pth")
    found = read_weight_file(tmp_path / "w.pth", check=True)
    assert found.backbone == "resnet18"
    assert torch.allclose(found.body["conv1.weight"], resnet18["conv1.weight"], atol=0.02)


def test_a_number_in_the_place_of_a_head_is_not_loaded(tmp_path):
    made, name = card("a", "b"), "roi_heads.box_predictor.cls_score.weight"
    state = saved(tmp_path / "w.pt", made)
    torch.save({"card": made.to_plain(), "model": state | {name: torch.tensor(1.0)}}, tmp_path / "w.pt")
    before, after, found = loaded(made, tmp_path / "w.pt")
    assert "roi_heads.box_predictor start at random" in found.text
    assert torch.equal(after[name], before[name])


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


def packaged(folder, monkeypatch, name="efficientnet_lite0"):
    """A package like that of the index, with random weights; its state dict."""
    module, names = PACKAGED[name]
    state = EfficientNetLite(name, torch.nn.BatchNorm2d).state_dict()
    torch.save(state, folder / "packaged.pth")
    made = types.ModuleType(module)
    made.__spec__ = importlib.machinery.ModuleSpec(module, None)
    setattr(made, names, type(names, (), {"get_model_file_path": staticmethod(lambda: str(folder / "packaged.pth"))}))
    monkeypatch.setitem(sys.modules, module, made)
    return state


def test_weights_of_a_package_load_without_a_network(tmp_path, monkeypatch):
    state = packaged(tmp_path, monkeypatch)
    _, now, found = loaded(card("a", model="unet", backbone="efficientnet_lite0"), "imagenet")
    body = {name.removeprefix("body."): value for name, value in now.items() if name.startswith("body.")}
    assert all(torch.equal(value, state[name]) for name, value in body.items())
    assert found.text.startswith("ImageNet weights of efficientnet_lite0 (Apache License 2.0) (efficientnet_lite0, ")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGED["efficientnet_lite2"][0], None)
    with pytest.raises(InputError, match="the ImageNet weights of efficientnet_lite2 are in a package") as caught:
        loaded(card("a", backbone="efficientnet_lite2"), "imagenet")
    assert "segkit[offline]" in caught.value.hint


def without_cache(tmp_path, monkeypatch, answers):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("segkit.models.weights._answers", lambda url: answers)


def plan_by_default(dataset, tmp_path, **more):
    some = TrainConfig(dataset=dataset, out=tmp_path, steps=1, **more)
    return plan_without_folder(some, open_split(dataset, "train"), None, torch.device("cpu"), 1)


def test_without_a_network_the_weights_of_a_package_are_the_default(dataset, tmp_path, monkeypatch):
    without_cache(tmp_path, monkeypatch, answers=False)
    monkeypatch.setitem(sys.modules, PACKAGED["efficientnet_lite0"][0], None)
    assert plan_by_default(dataset, tmp_path).card.backbone == "resnet18"  # not installed
    monkeypatch.undo()
    without_cache(tmp_path, monkeypatch, answers=False)
    packaged(tmp_path, monkeypatch)
    plan = plan_by_default(dataset, tmp_path)
    assert (plan.card.backbone, plan.config.weights, plan.card.norm_eps) == ("efficientnet_lite0", "imagenet", 1e-3)
    assert plan.notes[0].startswith("no network answers and no default weights are cached: efficientnet_lite0")
    for named in ({"backbone": "resnet18"}, {"weights": "imagenet"}, {"weights": "none"}):
        assert plan_by_default(dataset, tmp_path, **named).card.backbone == "resnet18"
    without_cache(tmp_path, monkeypatch, answers=True)
    plan = plan_by_default(dataset, tmp_path)
    assert plan.card.backbone == "resnet18"
    assert not any("network" in note for note in plan.notes)


def test_published_weights_know_a_picture():
    """With the preprocessing that segkit has inside: a cat of scikit-image is a cat, its coffee an espresso."""
    pytest.importorskip(PACKAGED["efficientnet_lite0"][0])
    data = pytest.importorskip("skimage.data")
    network = EfficientNetLite("efficientnet_lite0", partial(torch.nn.BatchNorm2d, eps=1e-3)).eval()
    network.load_state_dict(torch.load(packaged_file("efficientnet_lite0"), weights_only=True))
    names = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    for picture, expected in ((data.cat(), "Egyptian cat"), (data.coffee(), "espresso")):
        side = min(picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        image = torch.from_numpy(picture[top : top + side, left : left + side].copy()).permute(2, 0, 1)
        small = torch.nn.functional.interpolate(image[None].float(), (224, 224), mode="bicubic", antialias=True)
        with torch.inference_mode():
            scores = network(normalise(small[0].clamp(0, 255))[None]).softmax(1)[0]
        assert names[int(scores.argmax())] == expected


TIMM = {
    "mobilenet_v3_large": "mobilenetv3_large_100", "efficientnet_b0": "efficientnet_b0", "resnet18": "resnet18",
    "efficientnet_lite0": "tf_efficientnet_lite0", "convnext_tiny": "convnext_tiny",
}  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
def test_classifiers_of_timm_load_under_torchvisions_names(tmp_path, name):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(TIMM[name], pretrained=False).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    made = card("a", model="unet", backbone=name, norm="batch")
    module = replace(made, norm_eps=1e-3 if "lite" in name else 1e-5).build().eval()
    load_weights(module, str(tmp_path / "w.pth"), "unet", name, [])
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        ours, features = list(module.body(images).values())[-1], theirs.forward_features(images)
    if name in ("convnext_tiny", "resnet18", "mobilenet_v3_large"):  # others have a convolution after the last map
        assert torch.allclose(ours, features, rtol=1e-3, atol=1e-4)
    assert sum(value.numel() for value in module.body.state_dict().values()) > 0
