"""Options that do nothing beside the others: a warning names each."""

from dataclasses import replace

import pytest
import torch
from training import config

from segkit.config.fields import load_config, write_toml
from segkit.config.train import TrainConfig
from segkit.training.plan import plan_without_folder, read_data
from segkit.training.unused_options import unused_options

UNET = {"model": "unet", "detections": None}
WITHOUT_EFFECT = [
    ({"momentum": 0.5}, "--momentum 0.5 has no effect: adamw"),
    ({"optimizer": "sgd", "momentum": 0.5}, None),
    ({"curve_seeds": 3}, "--curve-seeds 3 has no effect"),
    ({"curve_seeds": 3, "label_share": 0.5}, None),
    (UNET | {"max_size": 999}, "--max-size 999 has no effect"),
    ({"max_size": 999}, None),
    ({"unlabelled": ("images",), "unlabelled_weight": 0.0, "model": "fasterrcnn"}, "--unlabelled-weight 0"),
    ({"lr": 0.0}, "--lr 0"),
    ({"warmup": 4}, "--warmup 4: the run ends after 4 steps"),
    ({"warmup": 3}, None),
    ({"schedule": "step", "lr_steps": (1,)}, "--lr-steps 1: the run ends before"),
    ({"schedule": "step", "lr_steps": (1,), "steps": 40}, None),
    ({"freeze": ("backbone",)}, "--freeze backbone: with --weights none"),
    ({"freeze": ("backbone",), "unfreeze_after": 2}, None),
    ({"norm": "frozen"}, "--norm frozen: with --weights none"),
    ({"rois": 50, "proposals": 10}, "--rois 50: no more than the 10"),
    ({"patience": 2}, None),
    ({}, None),
]


def said(options, val):
    """The warnings of a run with these options."""
    training, validation = read_data(options.dataset)
    known = replace(options, unlabelled=None, unlabelled_weight=None)  # no folder is looked into
    plan = plan_without_folder(known, training, validation if val else None, torch.device("cpu"), 1)
    asked = {name: getattr(options, name) for name in ("unlabelled", "unlabelled_weight")}
    return unused_options(replace(plan, config=replace(plan.config, ema=0.9, **asked)), options)


@pytest.mark.parametrize(("options", "warning"), WITHOUT_EFFECT)
def test_an_option_without_effect_is_named(dataset, options, warning):
    found = said(config(dataset, "runs", **options), val=True)
    assert len(found) == (warning is not None)
    assert all(each.startswith(warning) for each in found)


@pytest.mark.parametrize("name", ["patience", "eval_every"])
def test_options_of_evaluations_need_a_validation_split(dataset, name):
    options = replace(config(dataset, "runs", eval_every=None), **{name: 2})
    assert said(options, val=False) == [
        f"--{name.replace('_', '-')} has no effect: the dataset has no validation split"
    ]


@pytest.mark.parametrize("model", ["unet", "maskrcnn", "condinst"])
def test_the_options_of_a_run_can_be_given_again_without_a_warning(dataset, tmp_path, model):
    options = config(dataset, "runs", model=model, detections=None)
    plan = plan_without_folder(options, *read_data(dataset), torch.device("cpu"), 1)
    write_toml(plan.config, tmp_path / "config.toml")
    assert said(load_config(TrainConfig, tmp_path / "config.toml"), val=True) == []
