"""What a run will need is said before its first step, written down, and kept in evaluations, too."""

import json
import re
from contextlib import nullcontext

import pytest
import torch
from training import config, lines, losses

from segkit.commands.output import Output
from segkit.commands.render.models import render_training
from segkit.errors import DeviceError
from segkit.memory.measure.meter import CounterMeter
from segkit.progress import Progress
from segkit.runtime.ranks import Ranks
from segkit.training import contract
from segkit.training.plan import plan_without_folder, read_data
from segkit.training.train import train
from segkit.units import format_bytes


class Notes(Progress):
    def __init__(self):
        self.said = []

    def note(self, message):
        self.said.append(message)


class Counts(CounterMeter):
    """As on a GPU, whose allocator counts."""

    def peaks(self):
        return {"forward": 2**30, "backward": 3 * 2**30, "eval": 2**29, "save": 2**33}


def test_what_a_run_needs_is_said_written_and_kept(dataset, tmp_path, capsys):
    some = {"model": "unet", "size": 32, "batch": 8, "steps": 2, "optimizer": "sgd"}
    plain = train(config(dataset, tmp_path, **some))
    assert plain.memory is None
    assert "memory" not in json.loads((plain.run / "origin.json").read_text())  # a run of two steps on a CPU
    cpu = torch.device("cpu")
    plan = plan_without_folder(config(dataset, tmp_path, **some), *read_data(dataset), cpu, 1)
    together = contract._rehearse(plan, 8, Ranks(0, 1, cpu))
    assert together.validated_at_once == 8
    some["vram"] = int((together.validation - 1) / contract.SHARE)
    notes = Notes()
    summary = train(config(dataset, tmp_path, **some), notes, make_meter=Counts)
    said = json.loads((summary.run / "origin.json").read_text())["memory"]
    assert 1 <= said["validated_at_once"] < said["micro_batch"] == 8
    assert said["prediction"] < said["validation"] <= said["training"]
    assert (
        f"memory at most: training {format_bytes(said['training'])}, validation {format_bytes(said['validation'])}, "
        f"prediction {format_bytes(said['prediction'])} (tensors); the worst picture is a crop of any picture"
    ) in notes.said
    assert losses(summary.run) == losses(plain.run)
    assert lines(summary.run, "eval")[0]["segm"] == lines(plain.run, "eval")[0]["segm"]
    assert summary.memory == {"said": said, "needed": {"training": 3 * 2**30, "validation": 2**29}}
    render_training(summary, Output())
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(r"memory needed at most: training 3.00 GiB of .* that were said, more than was said, valid", told)


def test_a_detector_is_promised_by_its_most_crowded_picture(dataset, tmp_path):
    some = config(dataset, tmp_path, model="maskrcnn", vram=2**20)
    data = read_data(some.dataset)
    plan = plan_without_folder(some, *data, torch.device("cpu"), 1)
    notes, state = Notes(), type("State", (), {"micro_batch": 2, "step": 0, "validated_at_once": None})()
    before = torch.get_rng_state()
    found = contract.agree_on_contract(plan, state, Ranks(0, 1, torch.device("cpu")), notes)
    assert torch.equal(torch.get_rng_state(), before)
    most = max(sum(a.image_id == image.id for a in data[0].annotations) for image in data[0].images)
    assert found.instances == most
    assert state.validated_at_once == found.validated_at_once == 1
    assert any("the worst batch takes more than --vram 1.0 MiB" in each for each in notes.said)


def test_vram_is_a_promise_for_validation_too(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    some = config(dataset, tmp_path, model="unet", vram=50 * 2**20)
    plan = plan_without_folder(some, *read_data(some.dataset), torch.device("cuda"), 1, torch.float32)
    with pytest.raises(DeviceError, match=r"validation would take .* alone \(96x96 as the model gets it\), more than"):
        contract._rehearse(plan, 2, Ranks(0, 1, torch.device("cuda")))


def test_what_cannot_be_rehearsed_is_said_and_trains(dataset, tmp_path, monkeypatch):
    def fails(*_):
        raise NotImplementedError("no meta kernel\nmore")

    monkeypatch.setattr(contract, "_LEAST_STEPS", 1)
    monkeypatch.setattr(contract.Rehearsal, "step", fails)
    notes = Notes()
    assert train(config(dataset, tmp_path, model="unet", steps=1), notes).steps == 1
    assert "warning: what the run will need could not be rehearsed: no meta kernel" in notes.said
