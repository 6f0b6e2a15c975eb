"""Memory reports: the page, and recordings that are read again."""

import json
import os
import pickle

import pytest
import torch

import segkit.memory
from segkit.memory.report import curves
from segkit.memory.report.merge import merge
from segkit.memory.report.page import render_page


def test_the_page_escapes_names():
    kept = []
    with segkit.memory.watch() as watching:
        for _ in range(30):
            kept.append(torch.rand(100))
            watching.step()
        document = watching.report()
    document["leaks"][0]["held_by"] = "<b>evil</b>"
    document["model"] = "<x>"
    page = render_page(document)
    assert "<b>evil" not in page
    assert "&lt;b&gt;evil" in page
    assert "<x>" not in page


KEYS = {
    "kind", "where", "bytes_per_step", "allocated_at", "held_by", "stored_at", "fix", "steps_to_oom", "operation",
    "holder", "scope", "verified", "stored_surely", "graph_nodes", "steps_seen", "is_leak", "leak_since", "also_at",
}  # fmt: skip


def test_every_leak_has_the_same_keys(tmp_path):
    """Leaks of tensors, of the host, and of workers whose memory grows without a Python object that explains it."""
    tensors, rows = [], []
    with segkit.memory.watch() as watching:
        for _ in range(40):
            tensors.append(torch.rand(2000))
            rows.append(bytes(20_000))
            watching.step()
        document = watching.report()
    assert {leak["holder"]: leak["leak_since"] is not None for leak in document["leaks"]} == {
        "tensors": True, "rows": True,
    }  # fmt: skip
    document["leaks"] = [leak for leak in document["leaks"] if leak["holder"] == "tensors"]
    (tmp_path / "recording-1.json").write_text(json.dumps(document))
    mapped = [[batch, 10**8 + 50_000 * batch, 0, 10**7 + 50_000 * batch, 0] for batch in range(4, 100, 8)]
    (tmp_path / "worker-2.json").write_text(json.dumps({"batches": 80, "mapped": mapped, "leaks": []}))
    merged, _ = merge(tmp_path)
    own, worker = merged["leaks"]
    assert set(own) == KEYS | {"sources"}
    assert set(worker) == KEYS | {"workers"}
    assert worker["bytes_per_step"] == pytest.approx(2 * 50_000)  # two batches a step
    assert worker["leak_since"] is None  # workers count batches
    render_page(merged)


def test_a_report_of_an_earlier_version_is_shown(segkit, here):
    """A report without ``leak_since``, and with a key that no longer exists."""
    leak = dict.fromkeys(KEYS - {"leak_since"}) | {
        "kind": "kept tensors", "where": "host", "bytes_per_step": 400, "fix": "empty it", "is_leak": True,
        "also_at": [], "gone": 1, "held_by": "kept[0]", "operation": "aten::rand", "steps_seen": 20,
    }  # fmt: skip
    document = {
        "verdict": "leak", "steps": 30, "leaks": [leak], "growth": [], "phases": {}, "categories": {},
        "peak": {"allocated": 1, "phase": "forward", "rss": 1, "reserved": None}, "counted": "bytes", "model": "m",
        "series": {"stride": 1, "peak": []}, "top": {"modules": {}, "lines": {}, "steps": []}, "problems": [],
    }  # fmt: skip
    (here / "old.json").write_text(json.dumps(document))
    outcome = segkit("memprofile", "--explain", "old.json")
    assert outcome.code == 3
    assert "kept[0]" in outcome.out
    assert "kept[0]" in (here / "memprofile/memory.html").read_text()


def test_recordings_can_be_read(segkit, here):
    def block(size, state, line):
        frames = [{"filename": str(here / "train.py"), "line": line, "name": "f"}]
        return {"size": size, "requested_size": size - 100, "state": state, "frames": frames}

    segment = {"total_size": 10_000, "blocks": [block(4_000, "active_allocated", 3), block(6_000, "inactive", 0)]}
    (here / "snapshot.pickle").write_bytes(pickle.dumps({"segments": [segment], "device_traces": []}))
    outcome = segkit("memprofile", "--explain", "snapshot.pickle", "--json")
    document = json.loads(outcome.out)
    assert document["top"]["lines"] == {f"{here}/train.py:3": 4_000}
    assert sum(document["categories"].values()) == document["peak"]["reserved"]
    assert document["growth"][0]["name"] == "fragmentation"
    again = segkit("memprofile", "--explain", "memprofile/memory.json", "--json")
    assert json.loads(again.out) == document
    (here / "evil.pickle").write_bytes(pickle.dumps(os.getcwd))
    outcome = segkit("memprofile", "--explain", "evil.pickle")
    assert outcome.code == 1
    assert "it names" in outcome.err


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (1, 48, True, [20, 40]), (0, 5.3, False, [0, 2, 4]), (0, 0.001, False, [0, 0.0005, 0.001]),
        (1, 2, True, [1, 2]), (0, 1000, False, [0, 500, 1000]),
    ],
)  # fmt: skip
def test_ticks_are_round(low, high, whole, expected):
    assert curves.ticks(low, high, whole=whole) == expected


def test_curves_stay_inside_the_panel_and_show_the_highest_point():
    peaks = [100.0 * 2**20] * 2500
    peaks[1234] = 300.0 * 2**20
    series = {"peak": peaks, "allocated": peaks, "reserved": [None], "rss": peaks, "malloc": [None], "stride": 1}
    upper, lower = curves.panels({"series": series})
    assert [name for name, _ in upper.curves] == ["peak in the step", "held at its end"]
    assert [name for name, _ in lower.curves] == ["resident"]
    points = [tuple(map(float, point.split(","))) for point in upper.curves[0][1].split()]
    assert len(points) <= 1000
    assert all(curves.LEFT <= x <= curves.WIDTH - curves.RIGHT for x, _ in points)
    assert min(y for _, y in points) == pytest.approx(curves.TOP, abs=8)
    assert upper.title == "Allocated, MiB"
    assert curves.panels({"series": {"peak": []}}) == []
