"""Reports: the page, and recordings read again."""

import json
import os
import pickle

import torch

import segkit.memory
from segkit.memory.report.page import render_page


def test_the_page_escapes_what_it_is_given():
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


def test_recordings_are_read_again(segkit, here):
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
