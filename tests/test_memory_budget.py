"""What a profile costs: searches have a budget of processor time, and read only the files that can tell something."""

import ast
import threading

import pytest
import torch

from segkit.memory.containers.census import Census
from segkit.memory.findings import source_lines
from segkit.memory.findings.bounds import RunFacts
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.findings.suspects import Suspects
from segkit.memory.holders.edges import expressions_along, readable
from segkit.memory.holders.survivors import Survivors
from segkit.memory.measure import heap
from segkit.memory.measure.allocation import Site
from segkit.memory.measure.budget import Budget, Deadline
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
    budget = Budget(clock)
    spend(budget, clock, 1.9)
    assert budget.left() == pytest.approx(0.1)
    assert budget.left(reserve=1.0) == 0
    spend(budget, clock, 0.3)  # a pass over all objects is not cut off
    assert budget.left() == 0
    assert budget.left(least=0.4) == pytest.approx(0.4)
    clock.now += 3.9  # of the training: 0.195 s more
    assert budget.left() == 0
    clock.now += 0.2
    assert budget.left() > 0
    with pytest.raises(ZeroDivisionError), budget.spending():
        spend(budget, clock, 1 / 0)
    assert budget.spent == pytest.approx(2.2)
    clock.now += 1000
    assert budget.left() == pytest.approx(2.0)  # at once


def test_a_deadline_is_over_when_its_time_is_spent():
    clock = Clock()
    deadline = Deadline(0.5, clock)
    clock.now += 0.4
    assert not deadline.is_over
    clock.now += 0.2
    assert deadline.is_over
    assert deadline.left == pytest.approx(-0.1)


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
    tensors, clock, searched = LiveTensors(), Clock(), []
    suspects = Suspects(tensors, Survivors(tensors), StoreWatch())
    suspects.budget = budget = Budget(clock)
    site, other = Site(UNKNOWN, "aten.add"), Site(UNKNOWN, "aten.mul")
    monkeypatch.setattr(suspects._survivors, "states", lambda: {site: "leak", other: "leak"})
    left = [[other], []]
    monkeypatch.setattr(
        "segkit.memory.findings.suspects.diagnose",
        lambda tensors, sites, *_, **__: searched.append(sites) or ([], left.pop(0)),
    )
    facts = RunFacts({}, [], [], {}, 9, None)
    spend(budget, clock, 3)
    assert not suspects.search(facts, [])
    assert searched == []
    clock.now += 30
    assert suspects.search(facts, [])
    assert suspects.searched == {site: "leak"}
    tensors.step += 2
    assert suspects.search(facts, [])  # goes on with what was left
    assert searched == [[site, other], [other]]
    assert suspects.searched == {site: "leak", other: "leak"}


def test_what_is_only_suspect_leaves_time_for_leaks(monkeypatch):
    tensors, clock = LiveTensors(), Clock()
    suspects = Suspects(tensors, Survivors(tensors), StoreWatch())
    suspects.budget = budget = Budget(clock)
    states = {Site(UNKNOWN, "aten.add"): "watch"}
    monkeypatch.setattr(suspects._survivors, "states", lambda: states)
    searched = []
    monkeypatch.setattr(
        "segkit.memory.findings.suspects.diagnose", lambda tensors, sites, *_, **__: searched.append(sites) or ([], [])
    )
    facts = RunFacts({}, [], [], {}, 9, None)
    spend(budget, clock, 0.8)
    assert not suspects.search(facts, [])
    states[Site(UNKNOWN, "aten.mul")] = "leak"
    assert suspects.search(facts, [])
    assert len(searched) == 1


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


def test_the_heap_is_asked_for_types_and_references():
    def outer(value):
        def inner():
            return value, later

        if value is None:
            later = 1
        return inner

    empty_and_full = outer("kept").__closure__
    assert [content for _, content in heap.held_in(empty_and_full)] == ["kept"]
    assert heap.of_types([1, "a", [], True], lambda kind: issubclass(kind, int)) == [1, True]
    own = [Clock(), Clock()]
    assert {id(each) for each in heap.objects_of(lambda kind: kind is Clock)} >= set(map(id, own))
    assert [id(each) for part in heap.references_of([own, (own,)]) for each in part] == [*map(id, own[::-1]), id(own)]


def test_many_operations_at_one_place_have_one_site():
    with LiveTensors() as tensors:
        kept = [torch.zeros(index + 1) for index in range(3)]
        kept += [torch.zeros(9), torch.ones(9)]
    sites = [tensors.live[each.untyped_storage()._cdata].site for each in kept]
    assert len(set(sites)) == 3
    assert [site.line.number - sites[0].line.number for site in sites] == [0, 0, 0, 1, 1]


def test_a_variable_of_another_thread_is_called_as_that_thread_calls_it():
    local, filled, done, kept, found = threading.local(), threading.Event(), threading.Event(), [0], []

    def work():
        local.seen = {"first": kept}
        found.append(vars(local))
        filled.set()
        done.wait()

    worker = threading.Thread(target=work)
    worker.start()
    filled.wait()
    try:
        attributes = found[0]
        chain = [local, [attributes], attributes, attributes["seen"], kept]  # what is between them has no name
        assert [readable(each) for each in expressions_along("local", chain)] == [
            "local", "local", "local.__dict__", "local.seen", "local.seen['first']",
        ]  # fmt: skip
    finally:
        done.set()
        worker.join()
