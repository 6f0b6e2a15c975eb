"""Steps that are not followed tensor by tensor: which they are; leaks and peaks are seen all the same."""

import contextlib

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from segkit.memory.measure import sampling
from segkit.memory.measure.sampling import Sampling
from segkit.memory.measure.tracker import LiveTensors
from segkit.memory.report.document import report_of
from segkit.memory.report.wording import cost_of
from segkit.memory.session import Session


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """All steps are followed for a shorter time than by default, as the tests would take long."""
    monkeypatch.setattr(sampling, "_FIRST", 30)
    monkeypatch.setattr(sampling, "_UNDECIDED", {"watch": 60, "kept": 150})


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def run_steps(count, light=1.0, full=2.0, undecided=None):
    """Steps of a session of its own, as numbers of those that were followed; a followed one takes longer."""
    tensors, clock, followed = LiveTensors(), Clock(), []
    with tensors:
        chosen = Sampling(tensors, clock)
        for number in range(count):
            clock.now += light if tensors.resting else full
            if chosen.end_step(plain=True):
                followed.append(number)
            chosen.begin_step(may_rest=True, undecided=lambda: undecided)
        chosen.wake()
    return followed, chosen


def test_all_steps_are_followed_until_a_verdict_and_then_as_many_as_an_eighth_of_the_time_allows():
    followed, chosen = run_steps(132)
    assert followed[:34] == [*range(30), 32, 33, 34, 35]  # two are left out, to see what following costs
    assert chosen.share == pytest.approx(1.0)
    assert len(followed) == 34 + 96 // 8  # each of them takes as long again
    assert chosen.seconds == pytest.approx(len(followed) * 1.0)
    assert (chosen.full, chosen.light) == (len(followed), 132 - len(followed))


def test_where_following_is_cheap_all_steps_are_followed():
    followed, _ = run_steps(100, full=1.05)
    assert [step for step in range(100) if step not in followed] == [30, 31]


@pytest.mark.parametrize(("undecided", "until"), [("watch", 60), ("kept", 150)])
def test_what_is_undecided_is_followed_further(undecided, until):
    followed, _ = run_steps(until + 20, undecided=undecided)
    assert followed[until - 1] == until + 1
    assert len(followed) < until + 4


class Counting(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_modes_of_the_script_stay_in_their_order():
    tensors, outer, inner = LiveTensors(), Counting(), Counting()
    with tensors, outer:
        assert tensors.rest()
        with inner:
            torch.rand(3)
            tensors.resume()
            kept = torch.rand(3)
        assert len(tensors.live) == 1
        assert (outer.calls, inner.calls) == (2, 2)
        assert tensors.rest()
        torch.rand(3)
        assert (outer.calls, inner.calls) == (3, 2)
        tensors.resume()
        del kept
        assert len(tensors.live) == 0
    assert torch._C._len_torch_dispatch_stack() == 0


class Training:
    """A small training whose steps after the first are followed one in eight."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(Sampling, "share", property(lambda self: 1.0 if self._seconds["light"] else None))
        self.model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01)
        self.kept, self.session = [], Session()

    def step(self, x):
        loss = self.model(x).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    @contextlib.contextmanager
    def watched(self):
        self.session.start()
        try:
            yield
            self.document = report_of(self.session)
        finally:
            self.session.finish()


@pytest.fixture
def training(monkeypatch):
    return Training(monkeypatch)


def test_a_leak_that_begins_late_is_found(training):
    with training.watched():
        for number in range(220):
            loss = training.step(torch.rand(8, 16))
            if number >= 60:
                training.kept.append(loss)
    document = training.document
    assert (document["verdict"], document["steps"], document["problems"]) == ("leak", 220, [])
    assert document["cost"]["passed_over"] > 100
    assert "kept" in document["leaks"][0]["holder"]
    assert document["leaks"][0]["kind"] == "graph kept after backward"
    assert "of 220 steps" in cost_of(document)


def test_what_is_read_again_and_again_is_no_leak(training):
    """A buffer gets new entries in steps that nobody sees; what is drawn from it was not made where it is drawn."""
    buffer = []
    with training.watched():
        for number in range(220):
            entry = torch.rand(8, 16)
            if len(buffer) < 200:
                buffer.append(entry)
            else:
                buffer[number % 200] = entry
            training.step(torch.cat([buffer[index].detach() for index in (0, number // 2 % len(buffer))]))
    assert training.document["leaks"] == [], training.document["leaks"]
    assert training.document["verdict"] == "clean"


def test_every_evaluation_and_every_larger_input_is_followed(training):
    with training.watched():
        for number in range(200):
            training.step(torch.rand(500 if number == 150 else 8, 16))
            if number % 50 == 45:
                with torch.no_grad():
                    training.kept.append(training.model(torch.rand(400, 16)))
    document = training.document
    assert document["peak"]["step"] == 151
    assert document["verdict"] == "watch"
    assert "kept" in document["leaks"][0]["holder"]


def test_the_memory_of_steps_that_nobody_saw_is_not_native(training):
    """Tensors that a cache gets in those steps are in malloc's figures, and in none of the tracker's."""
    training.session.hooks.datasets.add(10**6)
    cache = {}
    with training.watched():
        for number in range(220):
            cache[number * 7 % 1000] = torch.rand(16_384)
            training.step(torch.rand(8, 16))
    measurements = training.session.series.measurements
    native = [(each.malloc or 0) - each.tensors for each in measurements]
    assert max(native[40:]) - min(native[40:]) < 100 * 65_536
