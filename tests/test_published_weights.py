"""Weights of packages, in the cache, and of timm: found, renamed, and missed."""

import importlib.machinery
import sys
import types
from dataclasses import replace
from functools import partial

import pytest
import torch
import torchvision
from made_weights import card, loaded
from torchvision.models.detection import maskrcnn_resnet50_fpn

from segkit.config.train import TrainConfig
from segkit.errors import InputError
from segkit.formats.dataset_folder import open_split
from segkit.models.backbones import normalise
from segkit.models.efficientnet_lite import EfficientNetLite
from segkit.models.packaged_weights import PACKAGED, packaged_file
from segkit.models.weights import load_weights
from segkit.training.plan import plan_without_folder


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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_if_weights_cannot_be_downloaded_the_error_names_the_file(cache, monkeypatch):
    def offline(*args, **kwargs):
        from urllib.error import URLError

        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(InputError) as caught:
        load_weights(card("a", "b", backbone="resnet50").build(), "coco", "maskrcnn", "resnet50")
    assert caught.value.message == "the weights cannot be downloaded: no network"
    assert "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth" in caught.value.hint
    assert str(cache) in caught.value.hint
    assert "--weights none" in caught.value.hint


def test_coco_weights_in_the_cache_are_loaded(cache):
    """A file of torchvision's weights loads into all layers except the heads for other categories."""
    torch.manual_seed(1)
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save(theirs.state_dict(), cache / "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth")
    ours = card("a", "b", backbone="resnet50").build()
    text = load_weights(ours, "coco", "maskrcnn", "resnet50").text
    own, given = ours.state_dict(), theirs.state_dict()
    other = [name for name in own if not torch.equal(own[name], given[name]) if own[name].shape == given[name].shape]
    assert other == []
    heads = [name for name in own if own[name].shape != given[name].shape]
    assert all("predictor" in name for name in heads)
    assert text.startswith("COCO weights (")
