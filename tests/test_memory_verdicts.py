"""Verdicts and names in scripts that look alike: short epochs, rare events, iterators, graphs of validations."""

import importlib.util
import json
import pickle
import sys

import numpy
import pytest
import torch

from segkit.memory.findings.records import Leak
from segkit.memory.holders.graph_roots import NODE_BYTES
from segkit.memory.holders.kept_tensors import arrays_around
from segkit.memory.measure.budget import Budget
from segkit.memory.measure.epochs import Epochs
from segkit.memory.measure.user_code import UserCode
from segkit.memory.report.document import report_of
from segkit.memory.report.wording import leak_rows
from segkit.memory.session import Session

HEAD = """
import itertools, threading
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
model = nn.Linear(8, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def loader(batches):
    return DataLoader(TensorDataset(torch.rand(batches, 8)), 1)
def step(x):
    optimizer.zero_grad()
    out = model(x)
    out.square().mean().backward()
    optimizer.step()
    return out.detach().repeat(20, 1)
"""
EPOCH = """
def epoch(batches, most):
    kept = []
    for number, (x,) in enumerate(loader(batches)):
        if number == most:
            break
        kept.append(step(x))
    done()
for _ in range({epochs}):
    epoch({batches}, {most})
"""
RARE = """
kept = []
for number in range({steps}):
    out = step(torch.rand(1, 8))
    if number in {at}:
        {store}
done()
"""


@pytest.fixture
def verdict_of(tmp_path, monkeypatch):
    """The report of a session around a script; the script calls ``done`` where the report is to be made."""

    def run(source):
        path = tmp_path / "user_script.py"
        path.write_text(HEAD + source)
        spec = importlib.util.spec_from_file_location("user_script", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "user_script", module)
        session = Session()
        # A process that has run many tests has a heap far larger than a script's: a pass over it takes long.
        session.budget = session.suspects.budget = Budget(is_limited=False)
        documents = []
        module.done = lambda: documents.append(report_of(session))
        session.start()
        try:
            spec.loader.exec_module(module)
        finally:
            session.finish()
        assert documents[-1]["problems"] == []
        return documents[-1]

    return run


def test_a_run_shorter_than_its_epoch_is_to_be_watched(verdict_of):
    document = verdict_of(EPOCH.format(epochs=1, batches=100, most=40))
    (leak,) = document["leaks"]
    assert document["verdict"] == "watch"
    assert not leak["is_leak"]
    assert "may be emptied at the end of the epoch" in leak["note"]
    assert "of 100 batches" in leak["note"]


def test_a_list_that_no_loop_empties_leaks_within_the_epoch(verdict_of):
    source = (
        EPOCH.format(epochs=1, batches=100, most=40)
        .replace("    kept = []\n", "")
        .replace("def ep", "kept = []\ndef ep")
    )
    document = verdict_of(source)
    assert document["verdict"] == "leak"
    assert "note" not in document["leaks"][0]


def test_an_epoch_that_ended_without_emptying_proves_a_leak():
    class Iterator:
        def __len__(self):
            return 20

    epochs, first, second = Epochs(), Iterator(), Iterator()
    for step in range(20):
        epochs.begin_batch(first, step)
    assert not epochs.is_within(5)  # all batches were read
    epochs.end_epoch(first, 20)
    for step in range(20, 30):
        epochs.begin_batch(second, step)
    assert epochs.ends == [20]
    assert not epochs.is_within(5)
    assert epochs.is_within(21)
    assert (epochs.read, epochs.length) == (10, 20)


@pytest.mark.parametrize(
    ("steps", "at", "store", "expected"),
    [
        (130, {n * n for n in range(12)}, "kept.append(out)", "watch"),  # a gallery: ever more rarely
        (120, {29, 59, 89}, "kept.append(out)", "watch"),  # a few evaluations
        (130, {n * n for n in range(12)}, "kept[:] = [out]", "clean"),  # the best so far
        (130, {4, 9, 16, 22, 31}, "kept.append(out)", "clean"),  # a table that has filled
    ],
)
def test_what_is_kept_rarely_is_to_be_watched(verdict_of, steps, at, store, expected):
    document = verdict_of(RARE.format(steps=steps, at=at, store=store))
    assert document["verdict"] == expected
    assert [leak["holder"] for leak in document["leaks"]] == (["user_script.kept"] if expected == "watch" else [])


def test_what_grew_before_the_first_training_step_is_no_leak(verdict_of):
    """Calls of a model are steps until an optimiser steps; from then on they were none."""
    report = verdict_of(
        HEAD
        + """
features = []
for _ in range(30):
    with torch.no_grad():
        features.append(model(torch.rand(64, 8)).numpy().tolist())
step(torch.rand(1, 8))
done()
"""
    )
    assert report["steps"] == 1
    assert (report["verdict"], report["leaks"]) == ("inconclusive", [])


def test_a_generator_and_a_cycle_are_named(verdict_of):
    document = verdict_of("""
def batches():
    seen = []
    for (x,) in itertools.cycle(DataLoader(TensorDataset(torch.rand(16_000, 8)), 16)):
        seen.append(x + 1)
        yield x
for number, x in enumerate(batches()):
    step(x)
    if number == 40:
        done()
        break
""")
    found = {leak["kind"]: leak for leak in document["leaks"]}
    assert set(found) == {"generator", "iterator that keeps"}
    assert found["iterator that keeps"]["holder"].startswith("itertools.cycle(DataLoader(")
    assert "seen" in found["generator"]["holder"]
    assert "generator batches() at" in found["generator"]["scope"]
    said = {kind: dict(leak_rows(Leak.from_json(leak)))["held by"] for kind, leak in found.items()}
    assert said["generator"].startswith("seen[")
    assert said["iterator that keeps"] == found["iterator that keeps"]["holder"]


@pytest.mark.parametrize(("steps", "every"), [(32, 1), (60, 6)])
def test_a_graph_of_validations_is_one_leak_of_the_size_that_memory_gains(verdict_of, steps, every):
    document = verdict_of(f"""
model = nn.Sequential(*[layer for _ in range(8) for layer in (nn.Linear(8, 8), nn.Tanh())])
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
kept = []
def validate(x):
    for layer in model:
        x = layer(x) * 1.0
    return x.mean()
for number in range({steps}):
    step(torch.rand(64, 8))
    if number % {every} == {every} - 1:
        kept.append(validate(torch.rand(64, 8)))
done()
""")
    (leak,) = document["leaks"]
    held = document["series"]["allocated"]
    gained = (held[-1] - held[20]) / (len(held) - 21)
    assert leak["holder"] == "user_script.kept"
    assert "no_grad" in leak["fix"]
    tensors = leak["bytes_per_step"] - NODE_BYTES * leak["graph_nodes"] / every  # nodes are no tensors
    # Of few validations, one more or less at the ends makes a difference.
    assert tensors == pytest.approx(gained, rel=0.05 if every == 1 else 0.4)


def test_a_variable_of_a_thread_is_named(verdict_of):
    document = verdict_of("""
local = threading.local()
local.rows = []
for number in range(30):
    local.rows.append(step(torch.rand(1, 8)))
done()
""")
    (leak,) = document["leaks"]
    assert leak["holder"] == "user_script.local.rows"
    assert leak["verified"]


def test_cells_of_a_notebook_are_the_users_and_have_numbers(monkeypatch):
    code = UserCode()
    assert code.owns("<ipython-input-3-0123abcd>")
    assert not code.owns("<frozen runpy>")
    from segkit.memory.findings.suspect import absolute
    from segkit.memory.measure.user_code import Line

    assert absolute(Line("<ipython-input-3-0123abcd>", 7, "f")) == "<cell 3>:7"


def test_a_module_in_the_libraries_is_a_program_without_its_neighbours(monkeypatch):
    module, main = type(torch)("launcher"), type(torch)("__main__")
    module.__file__ = "/usr/lib/python3/site-packages/launcher.py"
    main.__spec__ = importlib.util.spec_from_loader("launcher", None)
    monkeypatch.setitem(sys.modules, "launcher", module)
    monkeypatch.setitem(sys.modules, "__main__", main)
    code = UserCode()
    code.start()
    assert code.owns("/usr/lib/python3/site-packages/launcher.py")
    assert not code.owns("/usr/lib/python3/site-packages/other/core.py")


def test_a_snapshot_names_the_lines_that_hold_what_is_alive(segkit, here):
    (here / "train.py").write_text("x = 1\nkept.append(out)\n")
    library = {"filename": "/usr/lib/python3/site-packages/torch/nn/modules/conv.py", "line": 459, "name": "forward"}
    leaking = [library, {"filename": str(here / "train.py"), "line": 2, "name": "train"}]
    size, blocks, trace = 2**20, [], []
    for number in range(30):
        address = 1000 + number * size
        trace.append({"action": "alloc", "addr": address, "size": size, "frames": leaking})
        blocks.append(
            {"address": address, "size": size, "requested_size": size, "state": "active_allocated", "frames": []}
        )
    segment = {"address": 1000, "total_size": 30 * size, "blocks": blocks}
    (here / "snap.pickle").write_bytes(pickle.dumps({"segments": [segment], "device_traces": [trace]}))
    outcome = segkit("memprofile", "--explain", "snap.pickle")
    assert outcome.code == 0
    assert "train.py:2" in outcome.out
    assert "kept.append(out)" in outcome.out
    assert "30 blocks one after another" in " ".join(outcome.out.split())
    assert "0 steps" not in outcome.out
    assert "None" not in outcome.out
    document = json.loads((here / "memprofile/memory.json").read_text())
    assert document["top"]["alive"][0]["blocks"] == 30
    page = (here / "memprofile/memory.html").read_text()
    assert "kept.append(out)" in page
    assert "0 steps" not in page


def test_the_verdict_and_the_fix_stand_first(segkit, here):
    leak = {
        "kind": "kept tensors", "where": "host", "bytes_per_step": 400, "fix": "Empty it.", "is_leak": True,
        "also_at": [], "held_by": "kept[0]", "operation": "aten::rand", "steps_seen": 20, "stored_at": "/a/train.py:7",
        "sources": {"/a/train.py:7": "kept.append(out)"},
    }  # fmt: skip
    document = {
        "verdict": "leak", "steps": 30, "leaks": [leak], "growth": [], "phases": {}, "categories": {},
        "peak": {"allocated": 1, "phase": "forward", "rss": 1, "reserved": None}, "counted": "bytes", "model": "m",
        "series": {"stride": 1, "peak": []}, "top": {"modules": {}, "lines": {}, "steps": []}, "problems": [],
    }  # fmt: skip
    (here / "memory.json").write_text(json.dumps(document))
    said = segkit("memprofile", "--explain", "memory.json").out.splitlines()
    assert said[0].startswith("leak: ")
    assert said[2].split() == ["fix", "Empty", "it."]
    assert any("train.py:7  kept.append(out)" in line for line in said)
    page = (here / "memprofile/memory.html").read_text()
    assert page.index("Empty it.") < page.index("Step by step")


def test_a_model_without_a_leak_is_clean(verdict_of):
    assert verdict_of("for number in range(40):\n    step(torch.rand(1, 8))\ndone()\n")["verdict"] == "clean"


def test_the_search_for_arrays_ends_at_types_of_other_packages():
    """The base of a data type is itself; ml_dtypes, which ONNX, Keras and JAX load, puts its own among NumPy's."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = torch.arange(4).numpy()
    kept = [numpy.dtype(ml_dtypes.bfloat16), numpy.dtype("f4"), array]
    assert arrays_around([array.base]) == {id(array.base): kept[-1]}
