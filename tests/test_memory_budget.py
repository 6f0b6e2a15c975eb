"""What a profile costs: searches have a budget of processor time, and read only the files that can tell something."""

import ast
import threading
import tracemalloc

import pytest
import torch

from segkit.memory.containers.census import Census
from segkit.memory.containers.host_search import HostSearch
from segkit.memory.findings import source_lines
from segkit.memory.findings.bounds import RunFacts
from segkit.memory.findings.store_watch import StoreWatch
from segkit.memory.findings.suspects import Suspects
from segkit.memory.holders.edges import expressions_along, readable
from segkit.memory.holders.roots import is_librarys
from segkit.memory.holders.survivors import Survivors
from segkit.memory.measure import heap
from segkit.memory.measure.allocation import Site
from segkit.memory.measure.budget import Budget, Deadline
from segkit.memory.measure.tracker import LiveTensors
from segkit.memory.measure.user_code import UNKNOWN
from segkit.memory.report.document import report_of
from segkit.memory.session import Session


class Clock:
    now = 5.0

    def __call__(self):
        return self.now


def spend(budget, clock, seconds, kind="search"):
    with budget.spending(kind):
        clock.now += seconds


def test_censuses_and_searches_have_three_seconds_together_and_a_long_run_a_hundredth():
    clock = Clock()
    budget = Budget(clock)
    assert budget.may_take_census
    spend(budget, clock, 0.4, "census")
    assert budget.for_search() == pytest.approx(3.0 - 0.4 - 3 * 0.4)  # three more of the first four have to follow
    assert budget.for_search(reserve=1.3) == pytest.approx(0.65)  # half of what is left
    assert budget.for_search(reserve=2.0) == 0  # too little for a pass over the heap
    spend(budget, clock, 1.2)
    assert budget.spent == pytest.approx(1.6)
    for _ in range(3):
        assert budget.may_take_census
        spend(budget, clock, 0.3, "census")
    assert not budget.may_take_census  # the rest is for a search
    assert budget.for_search() == pytest.approx(0.5)
    with pytest.raises(ZeroDivisionError), budget.spending("search"):
        spend(budget, clock, 1 / 0)
    spend(budget, clock, 0.5)
    assert budget.for_search() == 0
    clock.now += 250
    assert not budget.may_take_census
    assert budget.for_search() == 0
    clock.now += 200  # 450 s of training: 4.5 s
    assert budget.may_take_census
    assert budget.for_search() == pytest.approx(1.5)
    clock.now += 1000
    assert budget.for_search() == pytest.approx(2.0)  # at once
    assert budget.times == {"census": 4, "search": 3}


def test_searches_alone_have_two_seconds():
    clock = Clock()
    budget = Budget(clock)
    spend(budget, clock, 0.05, "census")
    assert budget.for_search() == pytest.approx(2.0)
    spend(budget, clock, 1.9)
    assert budget.for_search() == pytest.approx(0.1)
    assert budget.for_search(reserve=0.06) == 0
    spend(budget, clock, 0.1)
    assert budget.for_search() == 0
    assert budget.may_take_census  # which have a second of their own


def test_without_a_limit_only_a_search_by_itself_ends():
    clock = Clock()
    budget = Budget(clock, is_limited=False)
    spend(budget, clock, 9, "census")
    budget.last_census = 0.5
    assert budget.may_take_census
    assert budget.for_search() == pytest.approx(1.5)


def test_whatever_a_session_has_to_search_it_ends_within_the_budget(monkeypatch):
    """Where nothing ends a search but its deadline, and there is always something to search for."""
    clock, session = Clock(), Session()
    session.budget = session.suspects.budget = Budget(clock)
    searched = []

    def take(census, step):
        clock.now += 0.15

    def diagnose(tensors, sites, *_, deadline, **__):
        searched.append(deadline.left)
        clock.now += deadline.left
        return [], list(sites)

    def describe(host, *_):
        clock.now += max(0.0, min(0.3, host._deadline.left))

    monkeypatch.setattr(Census, "take", take)
    monkeypatch.setattr("segkit.memory.findings.suspects.diagnose", diagnose)
    monkeypatch.setattr(HostSearch, "_describe", describe)
    states = {}
    monkeypatch.setattr(session.survivors, "states", lambda: states)
    for step in range(80):
        session.tensors.step, session.series.count = step, step
        if step >= 12:
            states[Site(UNKNOWN, "aten.add")] = "leak" if step >= 24 else "watch"
        session._end_step(followed=True)
        clock.now += 0.1
    assert session.budget.spent <= 3.0
    assert session.budget.seconds["search"] <= 2.0
    assert session.budget.times["census"] >= 4
    assert searched[-1] > 0.15  # when it is called a leak there is time for more than a pass
    assert session.failures == []


def test_what_grows_and_could_not_be_searched_for_is_said():
    rows, host, clock = [], HostSearch(), Clock()
    budget = Budget(clock)
    spend(budget, clock, 2)
    for step in (7, 14, 23, 37):
        rows.extend(bytes(9000) for _ in range(step - len(rows)))  # one a step
        host.take_census(step, StoreWatch(), RunFacts({}, [], [], {}, step, None), [], budget)
    assert host.suspects == {}
    assert host.has_no_time
    session = Session()
    session.host = host
    assert any("grow on the host" in each for each in report_of(session)["unseen"])


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
    budget = Budget(clock)
    suspects = Suspects(tensors, Survivors(tensors), StoreWatch(), budget)
    site, other = Site(UNKNOWN, "aten.add"), Site(UNKNOWN, "aten.mul")
    monkeypatch.setattr(suspects._survivors, "states", lambda: {site: "leak", other: "leak"})
    left = [[other], []]
    monkeypatch.setattr(
        "segkit.memory.findings.suspects.diagnose",
        lambda tensors, sites, *_, **__: searched.append(sites) or ([], left.pop(0)),
    )
    facts = RunFacts({}, [], [], {}, 9, None)
    spend(budget, clock, 2)
    assert not suspects.search(facts, [])
    assert searched == []
    clock.now += 300
    assert suspects.search(facts, [])
    assert suspects.searched == {site: "leak"}
    tensors.step += 2
    assert suspects.search(facts, [])  # goes on with what was left
    assert searched == [[site, other], [other]]
    assert suspects.searched == {site: "leak", other: "leak"}


def test_what_is_only_suspect_leaves_time_for_leaks(monkeypatch):
    tensors, clock = LiveTensors(), Clock()
    budget = Budget(clock)
    suspects = Suspects(tensors, Survivors(tensors), StoreWatch(), budget)
    states = {Site(UNKNOWN, "aten.add"): "watch"}
    monkeypatch.setattr(suspects._survivors, "states", lambda: states)
    searched = []
    monkeypatch.setattr(
        "segkit.memory.findings.suspects.diagnose", lambda tensors, sites, *_, **__: searched.append(sites) or ([], [])
    )
    facts = RunFacts({}, [], [], {}, 9, None)
    spend(budget, clock, 1.1)
    assert not suspects.search(facts, [])
    states[Site(UNKNOWN, "aten.mul")] = "leak"
    assert suspects.search(facts, [])
    assert len(searched) == 1


def test_what_is_a_librarys_own_is_watched_for_four_steps_only():
    """To see every call and every allocation takes more than all else: Python's own caches grow in many scripts."""
    assert [is_librarys(scope) for scope in ("re", "__main__", "train() at train.py:3", None)] == [True, *[False] * 3]
    stores, cache = StoreWatch(), {}
    try:
        stores.watch("re re._cache", cache, seconds=0.0)
        assert not tracemalloc.is_tracing()
        seen = []
        while stores.active:
            stores.stop_when_done()
            seen.append(stores.active)
    finally:
        stores.stop()
    assert seen == [True, True, True, False]


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
