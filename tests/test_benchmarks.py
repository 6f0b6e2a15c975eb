"""The measurements for a GPU run on the CPU with tiny sizes, so that a mistake in them shows where there is no GPU."""

import json
import os
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT


def rehearse(out, *options):
    """Run ``on_gpu.sh --rehearse`` with this environment's Python; the lines of its results."""
    environment = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}  # noqa: PTH120
    command = ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), str(out), "--rehearse", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + (out / "log.txt").read_text()[-3000:]
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_step_is_measured_beside_torchvisions_and_its_losses_are_equal(tmp_path):
    lines = {line["case"]: line for line in rehearse(tmp_path / "out", "--only", "step")}
    assert lines["losses equal torchvision's in fp32"]["largest_relative_difference"] < 1e-6
    for program in ("segkit", "torchvision"):
        assert lines[f"{program}, batch 2, 2 instances"]["step_ms"]["median"] > 0
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert all(f"| step | {case} |" in summary for case in lines)


def test_a_stage_that_fails_does_not_stop_the_others(tmp_path):
    """Without a GPU, all but a rehearsal fails: each stage alone, in its own line."""
    script = ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), str(tmp_path), "--only", "memprofile,ranks"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "SEGKIT_PURE": "1"}
    environment["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # noqa: PTH120
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["exit_code"]) for line in lines] == [("memprofile", 1), ("ranks", 1)]
    assert "no CUDA device is available" in done.stdout


def test_the_stages_fit_eight_minutes_and_stand_in_the_docs():
    script = (ROOT / "benchmarks" / "on_gpu.sh").read_text()
    stages = dict(each.split(":") for each in script.partition("stages=(")[2].partition(")")[0].split())
    assert sum(map(int, stages.values())) <= 480
    table = (ROOT / "docs" / "benchmarks.md").read_text()
    for number, (name, limit) in enumerate(stages.items()):
        assert f"| {number} | `{name}` | {limit} s |" in table


@pytest.mark.slow
def test_all_stages_are_rehearsed(tmp_path):
    lines = rehearse(tmp_path / "out")
    assert [line["stage"] for line in lines if line["case"] == "whole stage"] == [
        "machine", "tests", "step", "fit", "vram", "memprofile", "unet", "predict", "oom", "ranks",
    ]  # fmt: skip
    assert not [line for line in lines if line.get("error") is not None]


@pytest.fixture
def everything(monkeypatch):
    """The names of ``benchmarks/all.py``, which is a script."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return runpy.run_path(str(ROOT / "benchmarks/all.py"))


def test_every_benchmark_is_in_the_list_of_all(everything):
    listed = {each.script.name for each in everything["COMPARISONS"]} | {f"{name}.py" for name in everything["BY_HAND"]}
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"all.py", "make_labelme.py", "tables.py"}
    assert listed == scripts | {"on_gpu.sh"}
    lines = everything["listing"](None)
    assert any(line.startswith("targets_score") and "[skipped: needs a dataset: --data]" in line for line in lines)
    assert len(lines) == len(listed)


def test_options_of_the_list_are_those_of_the_scripts(everything):
    for each in everything["COMPARISONS"]:
        text = each.script.read_text(encoding="utf-8")
        flags = {word for word in f"{each.quick} {each.words}".split() if word.startswith("--")}
        assert [flag for flag in flags if flag not in text] == [], each.name


def test_figures_are_medians_over_rounds_of_the_lines_that_all_have(everything):
    rounds = [["a 1.5 s of 3", "x"], ["a 2.5 s of 3", "b 7"], ["a 9 s of 3"]]
    (row,) = everything["figures"](rounds)
    assert row["line"] == "a # s of #"
    assert [number["median"] for number in row["numbers"]] == [2.5, 3]
    assert (row["numbers"][0]["least"], row["numbers"][0]["most"]) == (1.5, 9)


def test_a_comparison_whose_results_differ_has_no_figures(everything):
    one = everything["COMPARISONS"][0]
    good = {"command": "python a.py", "exit_code": 0, "cpu": 1.0, "lines": ["a 1"], "error": ""}
    bad = good | {"exit_code": 1, "error": "the numbers differ"}
    assert everything["summary"](one, [good, good])["figures"]
    row = everything["summary"](one, [good, bad])
    assert (row["correct"], row["figures"], row["error"]) == (False, [], "the numbers differ")


def test_rounds_become_tables_with_medians_and_ranges(everything):
    rounds = [
        ["| | s | MB |", "|---|---|---|", f"| ours | {seconds} | 12 |",
         json.dumps({"set": "a", "n": {"s": seconds * 2}}), f"plain: {seconds} s | of 3"]
        for seconds in (1.25, 2.5, 9.0)
    ]  # fmt: skip
    rounds[-1].append("only the last")
    assert everything["markdown"](rounds) == [
        "| | s | MB |", "|---|---|---|", "| ours | 2.5 (1.2 to 9.0) | 12 |",
        "", "| set | n.s |", "| --- | --- |", "| a | 5 (2.5 to 18) |",
        "", "- plain: 2.5 (1.2 to 9.0) s | of 3", "- only the last",
    ]  # fmt: skip
    one = everything["COMPARISONS"][0]
    runs = [{"command": "python a.py", "exit_code": 0, "cpu": 1.0, "lines": each, "error": ""} for each in rounds]
    rows = [everything["summary"](one, each) for each in (runs, [runs[0] | {"exit_code": 1, "error": "differ"}])]
    on = {"commit": "abc", "cores": 2, "processor": "P", "python": "3", "versions": {"torch": "2"}}
    text = everything["sections"](rows, {"on_gpu.sh": "needs a GPU"}, on, quick=False)
    assert "`python a.py`, commit abc, 2 cores of P, Python 3, torch 2; 3 rounds in turns, median" in text
    assert "**Failed**, no figures:\n\n```\ndiffer\n```" in text
    assert text.endswith("## Not run\n\n- on_gpu.sh: needs a GPU\n")
    assert text.count("\n| ours |") == 1


def test_ranges_that_a_script_printed_are_not_nested(everything):
    rounds = [["| a | 0.5 (0.4 to 0.7) | 3 |"], ["| a | 0.6 (0.5 to 0.8) | 5 |"], ["| a | 0.4 (0.3 to 0.6) | 4 |"]]
    assert everything["markdown"](rounds) == ["| a | 0.5 (0.3 to 0.8) | 4 (3 to 5) |"]
    assert everything["markdown"](rounds[:1]) == ["| a | 0.5 (0.4 to 0.7) | 3 |"]


def of_all(*words):
    command = [sys.executable, str(ROOT / "benchmarks/all.py"), "--quick", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_a_machine_cannot_run_is_said(tmp_path):
    done = of_all("--only", "targets_score", "--json", tmp_path / "all.json", "--markdown", tmp_path / "all.md")
    assert done.returncode == 0, done.stderr
    assert "- targets_score: needs a dataset: --data" in (tmp_path / "all.md").read_text()
    assert "targets_score: skipped: needs a dataset: --data" in done.stdout
    found = json.loads((tmp_path / "all.json").read_text())
    assert (found["comparisons"], list(found["skipped"])) == ([], ["targets_score"])
    wrong = of_all("--only", "nothing")
    assert wrong.returncode == 2
    assert "--only nothing: no such comparison" in wrong.stderr


@pytest.mark.slow
def test_rounds_go_to_and_fro_and_have_medians(tmp_path):
    done = of_all("--rounds", 2, "--only", "many_instances,pasting", "--json", tmp_path / "all.json")
    assert done.returncode == 0, done.stderr
    order = [line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("round")]
    assert order == ["many_instances", "pasting", "pasting", "many_instances"]
    rows = json.loads((tmp_path / "all.json").read_text())["comparisons"]
    assert [(row["name"], row["correct"], bool(row["figures"])) for row in rows] == [
        ("many_instances", True, True), ("pasting", True, True),
    ]  # fmt: skip
