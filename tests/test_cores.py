"""All roads count the cores that the process may use, and not those of the machine."""

import ast
import os
from pathlib import Path

import pytest

from segkit.config.predict import PredictConfig
from segkit.inference.pipeline import threads_of
from segkit.runtime import cores

ROOT = Path(__file__).parents[1] / "segkit"
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")


@needs_affinity
def test_a_process_that_may_use_one_core_counts_one():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.usable_cores() == 1
        assert cores.cores_of_a_process(4) == 1
        assert cores.cores_if_limited() == (1 if os.cpu_count() > 1 else 0)
        assert threads_of(PredictConfig(source=["x"])) == 1
    finally:
        os.sched_setaffinity(0, before)


@needs_affinity
def test_processes_share_the_cores_that_this_one_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert [cores.cores_of_a_process(number) for number in (1, 2, 4, 7)] == [6, 3, 1, 1]
    assert cores.cores_if_limited() == 6
    assert threads_of(PredictConfig(source=["x"])) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert threads_of(PredictConfig(source=["x"])) == 2
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.cores_if_limited() == 0


def test_cores_are_counted_in_one_place():
    def counts(path):
        names = {"cpu_count", "process_cpu_count", "sched_getaffinity"}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        used |= {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
        return bool(names & used)

    assert [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if counts(path)] == ["runtime/cores.py"]
