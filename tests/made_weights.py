"""Models with random weights, saved as files and loaded into others."""

import torch

from segkit.data.geometry import Framing
from segkit.data.records import Category
from segkit.models.card import ModelCard
from segkit.models.detector_settings import DetectorSettings
from segkit.models.weights import load_weights


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
