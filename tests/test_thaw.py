"""Transfer: layers that are frozen until a step, and weights of a run with other categories."""

from dataclasses import replace

import pytest
import torch
from training import config, weights

from segkit.config.train import TrainConfig
from segkit.errors import ConfigError, InputError
from segkit.runs.checkpoint import load_checkpoint, save_checkpoint
from segkit.training.train import train

SMALL = {"model": "unet", "backbone": "mobilenet_v3_large", "schedule": "constant", "warmup": 0}


def test_frozen_layers_learn_from_a_step_on_and_a_resumed_run_equals_an_uninterrupted_one(dataset, tmp_path):
    """Before, their weights stay; with ``--unfreeze-after`` they change after it, whenever the run was resumed."""
    base = config(dataset, tmp_path, **SMALL, freeze=("backbone",), steps=4, unfreeze_after=2)
    whole, frozen = weights(train(base).run), weights(train(replace(base, steps=1)).run)
    body = [name for name in frozen if name.startswith("body.")]
    for first in (2, 3):  # at the step itself, when nothing is thawed yet, and after it
        part = train(replace(base, steps=first)).run
        then = weights(part)
        assert all(torch.equal(then[name], frozen[name]) for name in body) == (first == 2)
        train(TrainConfig(resume=str(part), steps=4))
        resumed = weights(part)
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert any(not torch.equal(frozen[name], whole[name]) for name in body)
    with pytest.raises(ConfigError, match="--unfreeze-after 2: no layer is frozen"):
        train(replace(base, freeze=("none",)))


@pytest.mark.slow
def test_the_weights_of_a_run_with_other_categories_keep_what_matches_by_name(dataset, tmp_path, segkit):
    """A run is named by its folder; what is new is said."""
    run = train(config(dataset, tmp_path, **SMALL, steps=1)).run
    content = load_checkpoint(run / "best.pt")
    names = [each["name"] for each in content["card"]["categories"]]
    content["card"]["categories"][0]["name"] = "snail"
    save_checkpoint(run / "best.pt", content)
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", run, "--steps", 1, "--batch", 2, "--size", 64, "--lr", 0,
        "--device", "cpu", "--out", tmp_path, "--name", "next",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert f"{names[0]!r} starts at random" in outcome.err
    own, before = weights(tmp_path / "next")["head.weight"], content["model"]["head.weight"]
    assert torch.equal(own[0], before[0])
    assert torch.equal(own[2:], before[2:])
    assert not torch.equal(own[1], before[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder that is no run"):
        train(config(dataset, tmp_path, **(SMALL | {"weights": str(tmp_path / "empty")}), steps=1))
