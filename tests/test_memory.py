"""The parts of memprofile: the tracker of live tensors, the verdict, holders, source lines, the host."""

import array
import asyncio
import contextlib
import gc
import io
import os
import sys
import threading
import types
import weakref
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import segkit.memory
from segkit.memory.containers.growing_values import GrowingValues
from segkit.memory.containers.named_values import NamedValue
from segkit.memory.containers.nested_containers import NestedContainers, newest_inner_entries
from segkit.memory.findings.source_lines import last_name, may_store, stores_in_source
from segkit.memory.findings.suspect import Suspect
from segkit.memory.holders.kinds import is_linked, kind_by_chain
from segkit.memory.holders.reference_chains import ReferenceChain, find_holders
from segkit.memory.holders.survival import SiteSurvival
from segkit.memory.measure.collector import CollectorBalance
from segkit.memory.measure.host import malloc_in_use
from segkit.memory.measure.tracker import LiveTensors
from segkit.memory.measure.trend import even_rise, rise, worker_rise
from segkit.memory.measure.user_code import UNKNOWN, Line

ZOO = Path(__file__).parent / "zoo"


def test_live_tensors_are_counted_to_the_byte():
    with LiveTensors() as tensors:
        a = torch.zeros(1000)
        assert tensors.allocated == 4000
        b = a * 2
        view = b[10:]
        assert tensors.allocated == 8000
        del a
        gc.collect()
        assert tensors.allocated == 4000
        del b
        assert tensors.allocated == 4000  # the view keeps the storage
        del view
        assert tensors.allocated == 0
        assert tensors.peak == 8000


def test_activations_that_only_autograd_holds_are_counted():
    layer = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 1))
    with LiveTensors() as tensors:
        out = layer(torch.rand(50, 100)).sum()
        held = tensors.allocated
        assert held > 2 * 50 * 100 * 4
        out.backward()
        del out
        gradients = sum(p.numel() * 4 for p in layer.parameters())
        assert tensors.allocated == gradients


def survival_after(steps, keeps):
    """The survival of a site; ``keeps(step)``: the steps whose tensors are alive at the end of a step."""
    survival, alive = SiteSurvival(), set()
    for step in range(steps):
        wanted = keeps(step)
        for allocation in wanted - alive:
            survival.add(allocation, 100)
        for allocation in alive - wanted:
            survival.remove(allocation, 100)
        alive = wanted
        survival.end_step(step)
    return survival


@pytest.mark.parametrize(
    ("keeps", "steps", "state"),
    [
        (lambda step: set(range(step)), 20, "leak"),
        (lambda step: set(range(step)), 10, "watch"),
        (lambda step: set(range(step)), 4, "clean"),
        (lambda step: set(range(0, step, 3)), 60, "leak"),
        (lambda step: set(range(max(0, step - 30), step)), 60, "clean"),  # the last thirty
        (lambda step: set(range(min(step, 20))), 60, "clean"),  # a cache that filled
        (lambda step: set(range(step - step % 25, step)), 90, "clean"),  # emptied every 25 steps
        (lambda step: set(range(step)) if step < 30 else set(), 60, "clean"),  # a warm-up
        (lambda step: {max(0, step - index * 7 % 90) for index in range(40)}, 120, "clean"),  # a full pool
    ],
)
def test_a_leak_is_what_survives_from_every_step(keeps, steps, state):
    assert survival_after(steps, keeps).state(steps + 2) == state


class Box:
    def __init__(self):
        self.things = {"kept": []}


BOX = Box()


def test_a_holder_is_an_expression_for_the_kept_object():
    gc.unfreeze()  # BOX is older than this test
    one, other = torch.rand(3), torch.rand(3)
    BOX.things["kept"] += [one, {"deep": other}]
    local = [torch.rand(2) for _ in range(3)]
    first, second, third = find_holders([one, other, local[1]], [0, 0, 1])
    assert first is not None
    assert second is not None
    assert third is not None
    # The local variables of this test are names, too, and nearer.
    assert first.verified
    assert second.verified
    assert third.verified
    del one, other
    found = find_holders([BOX.things["kept"][1]["deep"]], [0])[0]
    assert found is not None
    assert found.expression == f"{__name__}.BOX.things['kept'][1]['deep']"
    assert eval(found.expression, {__name__: sys.modules[__name__]}) is BOX.things["kept"][1]["deep"]
    BOX.things["kept"].clear()


def test_a_closure_a_generator_and_a_thread_are_named():
    def make():
        kept = [torch.rand(2)]
        return lambda: kept

    def generate():
        mine = [torch.rand(2)]
        yield
        yield mine

    def work():
        drawn = [torch.rand(2)]
        out.append(drawn[0])
        ready.set()
        done.wait()
        assert drawn

    out: list[torch.Tensor] = []
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, name="drawing")
    thread.start()
    ready.wait()
    try:
        in_thread = find_holders([out.pop()], [0])[0]
    finally:
        done.set()
        thread.join()
    assert in_thread is not None
    assert (in_thread.expression, in_thread.kind, in_thread.verified) == ("drawn[0]", "thread", True)
    assert "work()" in in_thread.scope
    assert "drawing" in in_thread.scope

    inner, generator = make(), generate()
    next(generator)
    in_closure = find_holders([inner()[0]], [0])[0]
    in_generator = find_holders([generator.gi_frame.f_locals["mine"][0]], [0])[0]
    assert in_closure is not None
    assert in_generator is not None
    assert in_closure.expression == "inspect.getclosurevars(inner).nonlocals['kept'][0]"
    assert in_generator.expression == "generator.gi_frame.f_locals['mine'][0]"
    assert in_closure.verified
    assert in_generator.verified


class Record:
    def __init__(self, value, before):
        self.value, self.before = value, before


def test_each_of_a_chain_of_records_has_a_name():
    """The way from an old record to a name goes through newer ones, which another search has already reached."""
    head = None
    for _ in range(60):
        head = Record(torch.rand(2), head)
    records = []
    while head is not None:
        records, head = [*records, head.value], head.before
    newest = Record(None, None)
    for each in reversed(records):
        newest = Record(each, newest)
    targets = records[::18]
    del each, head, records
    found = find_holders(targets, [0] * len(targets), [targets])
    assert [chain is not None and chain.verified for chain in found] == [True] * 4
    assert [chain.expression.count(".before") for chain in found if chain is not None] == [0, 18, 36, 54]
    assert is_linked(found[2].objects)
    assert not is_linked(found[0].objects)


def defaults(row, rows=[], *, more={}):  # noqa: B006 -- the mistake that is looked for
    return rows, more


def kept_by_a_task():
    loop = asyncio.new_event_loop()
    try:
        return [loop.create_future()]
    finally:
        loop.close()


def finalized():
    weakref.finalize(BOX, print, BOX.things).atexit = False
    return weakref.finalize._registry


@pytest.mark.parametrize(
    ("objects", "container", "kind"),
    [
        (lambda: [asyncio.Queue()], lambda it: it[0]._queue, "queue"),
        (kept_by_a_task, lambda it: it, "task or future"),
        (lambda: [futures.Future()], lambda it: it, "task or future"),
        (lambda: [contextlib.ExitStack()], lambda it: it[0]._exit_callbacks, "exit stack"),
        (lambda: [finalized()], lambda it: it[0], "finalizer"),
        (lambda: [defaults, defaults.__defaults__], lambda it: it[1][0], "default argument"),
        (lambda: [defaults, defaults.__kwdefaults__], lambda it: it[1]["more"], "default argument"),
        (lambda: [ValueError(torch.rand(2))], lambda it: it, "exception"),
        (lambda: [torch.optim.SGD(nn.Linear(2, 2).parameters())], lambda it: it[0].state, "optimizer state"),
        (lambda: [torch.optim.SGD(nn.Linear(2, 2).parameters())], lambda it: [], None),
    ],
    ids=["asyncio", "task", "future", "stack", "finalize", "default", "keyword", "error", "state", "list in the state"],
)
def test_the_kind_of_what_a_library_keeps_for_the_user(objects, container, kind):
    chain = objects()
    grows = container(chain)
    found = ReferenceChain("it", "__main__", "global", (*chain, grows, torch.rand(2)), (), None, True, "it")
    assert kind_by_chain(found, grows) == kind


def test_a_default_value_has_the_name_of_its_argument():
    gc.unfreeze()  # the function is older than this test
    rows, more = defaults(None)
    rows.append(torch.rand(2))
    more["a"] = [torch.rand(2)]
    targets = [rows[0], more["a"][0]]
    del rows, more
    first, second = find_holders(targets, [0, 1], [targets])
    assert first is not None
    assert second is not None
    assert (first.verified, second.verified) == (True, True)
    assert first.expression.endswith("parameters['rows'].default[0]")
    assert second.expression.endswith("parameters['more'].default['a'][0]")
    assert [last_name(each.expression) for each in (first, second)] == ["rows", "more"]
    defaults.__defaults__[0].clear()
    defaults.__kwdefaults__["more"].clear()


class Keep:
    def __init__(self):
        self.kept = [torch.rand(2) for _ in range(2)]


def keeping():
    kept = [torch.rand(2) for _ in range(2)]
    return lambda: kept


@pytest.mark.parametrize(
    ("name", "keeps", "expression", "scope"),
    [
        ("callbacks", Keep, "trainer.callbacks[0].kept[1]", "test_a_holder_has"),
        ("_callbacks", Keep, "self.kept[1]", "the methods of Keep"),
        ("_callbacks", keeping, "kept[1]", "the closure of <lambda>()"),
    ],
)
def test_a_holder_has_the_words_of_the_user_and_not_the_private_names_of_a_library(name, keeps, expression, scope):
    trainer = types.SimpleNamespace(**{name: [keeps()]})
    found = find_holders(
        (lambda each: [*(each() if callable(each) else each.kept)])(getattr(trainer, name)[0]), [0, 0]
    )[1]
    assert found is not None
    assert found.verified
    assert found.expression == expression
    assert found.scope.startswith(scope)
    assert found.expressions[found.container] == expression.removesuffix("[1]")


def test_stores_are_found_in_the_source(tmp_path):
    script = tmp_path / "s.py"
    script.write_text(
        "class T:\n    def f(self, x):\n        self.outs.append(x)\n\n\ntotal = 0\nfor i in range(3):\n    total += i"
        "\n    window.append(i)\n    if len(window) > 5:\n        window.pop(0)\n    history['a'].append(i)\n"
    )
    files = [str(script)]
    assert [line.number for line in stores_in_source("trainer.outs", files)] == [3]
    assert [line.number for line in stores_in_source("total", files)] == [8]
    assert [line.number for line in stores_in_source("history['a']", files)] == [12]
    assert last_name("inspect.getclosurevars(hook).nonlocals['store'][3]") == "store"


def test_a_line_that_stores_nothing_is_no_better_than_the_source(tmp_path):
    """Another thread may have stored while the line ran."""
    script = tmp_path / "s.py"
    script.write_text("kept.append(x)\nout = pool.submit(score, x).result()\ntotal += x\nkept[0] = x\n")
    assert [may_store(Line(str(script), number, "")) for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert may_store(Line("<stdin>", 1, ""))
    source = Line(str(script), 1, "")
    suspect = Suspect("", "kept tensors", (), UNKNOWN, "", stored_at=source)
    assert suspect.seen_stored(Line(str(script), 2, "")) == suspect
    assert suspect.seen_stored(Line(str(script), 4, "")).stored_surely


def test_malloc_in_use_counts_allocations():
    before = malloc_in_use()
    if before is None:
        pytest.skip("no mallinfo2 in this C library")
    blocks = [bytearray(200_000) for _ in range(200)]
    assert malloc_in_use() - before > 200 * 190_000
    del blocks


def test_steps_can_be_marked_by_hand():
    kept = []
    with segkit.memory.watch() as watching:
        for _ in range(30):
            kept.append(torch.rand(100) * 2)
            watching.step()
        report = watching.report()
    assert report["verdict"] == "leak"
    assert report["leaks"][0]["bytes_per_step"] == 400
    assert "kept" in report["leaks"][0]["held_by"]


def test_if_the_profiler_fails_the_script_continues(monkeypatch):
    def broken(*arguments, **more):
        raise RuntimeError("a bug")

    monkeypatch.setattr("segkit.memory.findings.suspects.diagnose", broken)
    kept = []
    with segkit.memory.watch() as watching:
        for _ in range(30):
            kept.append(torch.rand(100))
            watching.step()
        report = watching.report()
    assert len(kept) == 30
    assert "a bug" in report["problems"][0]


def test_a_rise_is_suspect_only_if_every_part_is_higher():
    steady = [10**6 + 20_000 * step + (step % 7) * 1000 for step in range(400)]
    assert rise(steady) == pytest.approx(20_000, rel=0.02)
    assert rise(steady[:150]) is None  # too few
    assert rise([min(each, 5 * 10**6) for each in steady]) is None  # it filled up
    assert rise([10**6 + 300_000 * (step % 40) for step in range(400)]) is None  # a saw
    assert rise([10**6 + 100 * step for step in range(400)]) is None  # too little to matter


@pytest.mark.parametrize(
    "begin",
    [
        lambda: np.zeros((0, 3)),
        lambda: torch.zeros(0),
        str,
        bytearray,
        io.BytesIO,
        io.StringIO,
        lambda: array.array("f"),
    ],
)
def test_a_value_that_grows_is_found_and_a_larger_new_value_is_not(begin):
    """With real censuses: a value that is joined to itself begins as before, a new value does not."""

    def longer(value):
        if isinstance(value, io.BytesIO):
            value.write(os.urandom(4000))
            return value
        if isinstance(value, io.StringIO):
            value.write("".join(map(chr, rng.integers(65, 91, 4000))))
            return value
        if isinstance(value, str):
            return value + "".join(map(chr, rng.integers(65, 91, 4000)))
        if isinstance(value, bytearray):
            return value + rng.bytes(4000)
        if isinstance(value, array.array):
            return value + array.array("f", rng.random(1000))
        if isinstance(value, torch.Tensor):
            return torch.cat([value, torch.rand(1000)])
        return np.concatenate([value, rng.random((200, 3))])

    rng = np.random.default_rng(0)
    values, grows = GrowingValues(), begin()
    for step in range(12):
        grows = longer(grows)
        other = rng.random((100 + 50 * step, 3))
        number = torch.zeros(4000 + step)[0]  # no more than a number, of a large storage
        values.take(step, [NamedValue("grows", grows), NamedValue("other", other), NamedValue("number", number)])
    found = dict(values.steady())
    assert found["grows"].keeps_beginning
    assert found["grows"].per_step > 3000
    assert not found["other"].keeps_beginning
    values.release()
    assert all(each.value is None for each in values.places.values())


def test_growth_inside_nested_containers_is_found():
    nested, found = NestedContainers(), {name: [] for name in range(20)}
    for step in range(12):
        for name in range(step % 2, 20, 2):
            found[name].append(step)
        nested.take(step, [NamedValue("found", found), NamedValue("flat", list(range(step)))])
    (nested,) = nested.steady()
    assert nested.container is found
    assert nested.per_step == 10
    assert newest_inner_entries(nested.container)[0] in (10, 11)


def test_native_memory_is_a_leak_if_every_part_rises():
    assert even_rise([20_000 * step + 7000 * (step % 3) for step in range(160)]) == pytest.approx(20_000, rel=0.1)
    assert even_rise([20_000 * min(step, 100) for step in range(160)]) is None
    assert even_rise([4 * 10**6 * (step > 80) for step in range(160)]) is None  # one jump
    rows = [[batch, 10**8 + 50_000 * batch, 0, 10**7 + 50_000 * batch, 0] for batch in range(4, 100, 8)]
    assert worker_rise(rows) == pytest.approx(50_000)
    copied = [[batch, 10**8, 0, 10**7 + 50_000 * batch, 10**7 - 50_000 * batch] for batch in range(4, 100, 8)]
    assert worker_rise(copied) is None  # pages that became its own make it no larger


def test_the_profiler_does_not_make_the_garbage_collector_run_sooner():
    balance, mine = CollectorBalance(), []
    gc.collect()
    before = gc.get_count()[0]
    mine += [[] for _ in range(300)]
    balance.compensate(0)
    assert gc.get_count()[0] >= before + 300
    balance.compensate(1)  # makes spare ones, which the collector sees once
    gc.collect()
    before = gc.get_count()[0]
    mine += [[] for _ in range(300)]
    assert gc.get_count()[0] >= before + 300
    balance.compensate(300)
    assert gc.get_count()[0] < before + 150
