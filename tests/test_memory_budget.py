"""What a profile costs: searches have a budget of processor time, and read only the files that can tell something."""

import ast

import pytest

from segkit.memory.containers.census import Census
from segkit.memory.findings import source_lines
from segkit.memory.findings.bounds import RunFacts
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.findings.suspects import Suspects
from segkit.memory.holders.survivors import Survivors
from segkit.memory.measure.allocation import Site
from segkit.memory.measure.budget import Budget
from segkit.memory.measure.tracker import LiveTensors
from segkit.memory.measure.user_code import UNKNOWN


class Clock:
    now = 5.0

    def __call__(self):
        return self.now


def spend(budget, clock, seconds):
    with budget.spending():
        clock.now += seconds


def test_two_seconds_and_a_twentieth_of_the_training():
    clock = Clock()
    budget = Budget(clock=clock)
    spend(budget, clock, 1.9)
    assert budget.is_left
    spend(budget, clock, 0.3)  # a search is not cut off
    assert not budget.is_left
    clock.now += 3.9  # of the training: 0.195 s more
    assert not budget.is_left
    clock.now += 0.2
    assert budget.is_left
    with pytest.raises(ZeroDivisionError), budget.spending():
        spend(budget, clock, 1 / 0)
    assert budget.spent == pytest.approx(2.2)


def test_there_is_time_for_the_least_number_of_times():
    clock = Clock()
    budget = Budget(2, clock)
    spend(budget, clock, 9)
    assert budget.is_left
    spend(budget, clock, 9)
    assert not budget.is_left


def test_a_container_is_followed_beside_many_that_only_seem_to_grow():
    """In a large program, new containers are where shorter ones have been."""
    many, rows, census = [[0] * 5 for _ in range(300)], [0] * 5, Census()
    census.take(7)
    for each in [*many, rows]:
        each.append(0)
    census.take(13)
    for step in (19, 28):
        rows.extend([0] * 3)
        census.take(step)
    assert any(growing.container is rows for growing in census.steady())
    assert not any(growing.container is each for growing in census.steady() for each in many)


def test_a_search_without_time_waits_for_a_later_step(monkeypatch):
    tensors = LiveTensors()
    suspects = Suspects(tensors, Survivors(tensors), StoreWatch())
    clock, searched = Clock(), []
    suspects.budget = Budget(clock=clock)
    site = Site(UNKNOWN, "aten.add")
    monkeypatch.setattr(suspects._survivors, "states", lambda: {site: "leak"})
    monkeypatch.setattr("segkit.memory.findings.suspects.diagnose", lambda *_, **__: searched.append(clock.now) or [])
    facts = RunFacts({}, [], [], {}, 9, None)
    spend(suspects.budget, clock, 3)
    assert not suspects.search(facts, [])
    assert (searched, suspects.searched) == ([], {})
    clock.now += 30
    assert suspects.search(facts, [])
    assert len(searched) == 1
    assert suspects.searched == {site: "leak"}


def test_files_that_do_not_name_it_are_not_read_as_code(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("kept = []\ndef step(x):\n    kept.append(x)\n")
    (tmp_path / "b.py").write_text("other = []\nother.append(1)\n")
    read = []
    parse = ast.parse
    monkeypatch.setattr(source_lines.ast, "parse", lambda text: read.append(text) or parse(text))
    files = [str(tmp_path / name) for name in ("a.py", "b.py", "missing.py")]
    assert [line.number for line in source_lines.stores_in_source("train.kept", files)] == [3]
    assert len(read) == 1
    assert source_lines.registers_in_source("hook cycle", files) is None
    assert len(read) == 1
