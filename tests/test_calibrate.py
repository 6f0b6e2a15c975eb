"""memprofile --fit --calibrate, with a stand-in for the GPU that is not here."""

import json

import pytest
import torch

from segkit.memory.simulate.allocator import ReplayPeaks
from segkit.memprofile import calibrate
from segkit.memprofile.needs import Overhead
from segkit.progress import Progress

MIB = 2**20


class Notes(Progress):
    def __init__(self):
        self.said = []

    def note(self, message):
        self.said.append(message)


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A GPU of 8 GiB: 700 MiB are the context's, 64 MiB a workspace, and a tenth is lost between blocks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tensors, compute = [], calibrate._compute

    def on_host(make):
        return lambda *size, device=None, **more: make(*size, **more)

    def computed():
        tensors.append(compute())
        return tensors[-1]

    monkeypatch.setattr(calibrate, "_compute", computed)
    monkeypatch.setattr(calibrate, "_SIDE", 16)
    monkeypatch.setattr(calibrate, "replay", lambda events, ends: ReplayPeaks(reserved=(1000,), allocated=(1000,)))
    monkeypatch.setattr(torch, "empty", on_host(torch.empty))
    monkeypatch.setattr(torch, "zeros", on_host(torch.zeros))
    for name, value in {
        "is_available": lambda: True, "current_device": lambda: 0, "get_device_name": lambda index: "Card 8000",
        "mem_get_info": lambda: (8192 * MIB - 700 * MIB, 8192 * MIB), "synchronize": lambda: None,
        "empty_cache": lambda: None, "memory_reserved": lambda: 0, "memory_allocated": lambda: 0,
        "reset_peak_memory_stats": lambda: None, "max_memory_reserved": lambda: 1100,
        "max_memory_allocated": lambda: tensors[-1] + 64 * MIB,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)


def test_what_a_gpu_holds_besides_tensors_is_measured_once_and_named(card, monkeypatch):
    notes = Notes()
    assert calibrate.overhead_here(notes) == Overhead()  # nothing was measured yet
    found = calibrate.overhead_here(notes, measure=True)
    assert found.fixed == (700 + 64) * MIB
    assert found.share == pytest.approx(0.1)
    assert found.gpu is not None
    assert found.gpu.startswith("Card 8000, driver ")
    assert found.gpu.endswith(f"torch {torch.__version__}")
    assert f"measured on {found.gpu}: 0.68 GiB for context and other programs, 64.0 MiB for workspaces" in notes.said[0]
    assert calibrate.overhead_here(notes) == found  # from the file
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "another")
    assert calibrate.overhead_here(notes).assumed
    assert len(notes.said) == 1


def test_measurements_of_other_gpus_are_kept_and_a_damaged_file_is_none(card, monkeypatch):
    calibrate.overhead_here(Notes(), measure=True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "another")
    calibrate.overhead_here(Notes(), measure=True)
    assert [each["gpu"].partition(",")[0] for each in json.loads(calibrate.cache_file().read_text())] == [
        "Card 8000", "another",
    ]  # fmt: skip
    calibrate.cache_file().write_text("[{}]")
    assert calibrate.overhead_here(Notes()).assumed


@pytest.mark.slow
def test_without_a_gpu_one_line_says_what_is_assumed(segkit, here, dataset):
    outcome = segkit("memprofile", "--fit", "--calibrate", "--vram", "64GiB", dataset)
    assert outcome.code == 0
    said = "no GPU is here to measure; assumed instead: 0.80 GiB for driver and CUDA context, and 5% of the tensors"
    assert outcome.err.count(said) == 1


@pytest.mark.slow
def test_an_estimate_names_the_gpu_that_was_measured(card, segkit, here, dataset, monkeypatch):
    calibrate.overhead_here(Notes(), measure=True)
    known = calibrate._kept()[calibrate._gpu()]
    monkeypatch.undo()
    monkeypatch.setattr("segkit.memprofile.estimate.overhead_here", lambda *_, **__: known.overhead())
    outcome = segkit("memprofile", "--fit", "--vram", "64GiB", "--json", dataset)
    assert json.loads(outcome.out)["overhead"]["gpu"] == known.gpu
    assert f"(measured on {known.gpu})" in " ".join(outcome.err.split())


@pytest.mark.parametrize(
    ("options", "says"), [([], "goes with --fit"), (["--fit", "--overhead", "1GiB"], "--overhead")]
)
def test_what_does_not_go_together_is_refused(segkit, here, options, says):
    outcome = segkit("memprofile", "--calibrate", *options)
    assert outcome.code == 1
    assert says in outcome.err
