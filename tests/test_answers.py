"""What goes to stdout: the answer of a command that was asked something, also when quiet; and nothing of others."""

import json

import numpy as np
import pytest
from coco_pairs import random_pair

from segkit.doctor.facts import Checkup, Fact
from segkit.memprofile.estimate import MemoryEstimate

REPORT = {
    "verdict": "clean", "steps": 30, "leaks": [], "growth": [], "phases": {}, "categories": {},
    "peak": {"allocated": 1, "phase": "forward", "rss": 1, "reserved": None}, "counted": "bytes", "model": "m",
    "series": {"stride": 1, "peak": []}, "top": {"modules": {}, "lines": {}, "steps": []}, "problems": [],
}  # fmt: skip


@pytest.fixture
def files(here, monkeypatch):
    """Results with their annotations, a recording of memory, and a machine without a problem."""
    truth, results = random_pair(np.random.default_rng(3), images=5, categories=2)
    for name, document in (("t", truth), ("r", results), ("memory", REPORT)):
        (here / f"{name}.json").write_text(json.dumps(document))
    found = Checkup((Fact("python", "ok", "Python 3"), Fact("gpu", "note", "no GPU", "use one")), {})
    monkeypatch.setattr("segkit.doctor.checkup.examine", lambda config, progress: found)
    return here


ASKED = [
    ("eval r.json --data t.json", "all (mean)", "masks  AP 0."),
    ("eval r.json --data t.json --details", "error types (TIDE)", "masks  AP 0."),
    ("check {parts}", "sizes in pixels", "checked "),
    ("doctor", "no GPU", "0 problems, 1 note"),
    ("memprofile --explain memory.json", "30 steps, peak 1 B", "clean: "),
    ("convert t.json --images none --val 0 --dry-run", "categories: c1", "would write dataset from 1 file (coco)"),
]


@pytest.mark.parametrize(("command", "words", "gist"), ASKED)
def test_an_answer_is_on_stdout_and_one_line_of_it_is_left_when_quiet(segkit, files, parts, command, words, gist):
    command = command.format(parts=parts)
    said = segkit(*command.split())
    assert (said.code in (0, 3), words in said.out, words in said.err) == (True, True, False), said
    quiet = segkit(*command.split(), "--quiet")
    assert (quiet.err, len(quiet.out.splitlines())) == ("", 1)
    assert quiet.out.startswith(gist)
    document = segkit(*command.split(), "--json")
    json.loads(document.out)
    assert words in document.err  # the same words beside the document
    silent = segkit(*command.split(), "--json", "--quiet")
    assert (json.loads(silent.out), silent.err) == (json.loads(document.out), "")


def test_warnings_and_the_names_of_files_are_not_part_of_the_answer(segkit, files):
    said = segkit("eval", "r.json", "--data", "t.json", "--score", 0.7, "--out", "o")
    assert "o/metrics.json" not in said.out
    assert "o/metrics.json" in said.err
    assert "warning: --score has no effect" in said.err
    assert "warning" not in said.out


def test_what_a_block_for_a_bug_report_is_beside_goes_to_stderr(segkit, files):
    said = segkit("doctor", "--report")
    assert said.out.startswith("<details>")
    assert "0 problems, 1 note" in said.err
    assert "0 problems" not in said.out


def test_an_estimate_is_on_stdout(segkit, files, monkeypatch):
    band = {"now": 2**30, "at_most": 2**31}
    verdict = {"vram": 6 * 2**30, "verdict": "fits", "why": "2.0 GiB are needed", "cheapest": None}
    document = {
        "training": {"gpus": 1, "images": 3} | dict.fromkeys(
            ("model", "backbone", "size", "batch", "micro_batch", "precision", "optimizer", "norm"), "x"),
        "settings": [{"options": "", "verdicts": {str(6 * 2**30): verdict}} | dict.fromkeys(
            ("allocated", "reserved", "needed"), band)],
        "vram": [verdict], "binding": {"text": "the backbone"}, "warnings": [],
        "overhead": {"fixed": 1, "gpu": None, "assumed": True, "share": 0.05},
    }  # fmt: skip
    estimate = MemoryEstimate(document, files / "fit.json", 0)
    monkeypatch.setattr("segkit.memprofile.estimate.estimate_memory", lambda config, progress: estimate)
    said = segkit("memprofile", "--fit")
    assert "6 GiB: fits, 2.0 GiB are needed" in said.out
    assert "fit.json" in said.err
    assert segkit("memprofile", "--fit", "-q")[1:] == ("6 GiB: fits, 2.0 GiB are needed\n", "")


def test_commands_that_make_files_say_so_on_stderr(segkit, files, parts):
    said = segkit("convert", parts, "--out", "d")
    assert said.out == ""
    assert "wrote d from 12 files (labelme)" in said.err
    assert segkit("convert", parts, "--out", "e", "-q") == (0, "", "")
