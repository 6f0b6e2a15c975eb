"""Memory figures of a GPU without a GPU: the counters of the allocator are mocked, the arithmetic is real."""

import pytest
import torch
from torch import nn

from segkit.memory.measure import cuda as device
from segkit.memory.measure import torch_private as private
from segkit.memory.measure.cuda import DeviceFigures, Reader, rounded
from segkit.memory.measure.meter import CounterMeter
from segkit.memory.session import Session


class Allocator:
    """Answers like the caching allocator: the current bytes, and peaks since the last reset."""

    def __init__(self):
        self.now, self.peak, self.reserved, self.split = 0, 0, 0, 0

    def allocate(self, size):
        self.now += size
        self.peak = max(self.peak, self.now)
        self.reserved = max(self.reserved, self.now)

    def stats(self, asked=None):
        return {
            "allocated_bytes": {"all": {"current": self.now, "peak": self.peak}},
            "reserved_bytes": {"all": {"current": self.reserved, "peak": self.reserved}},
            "inactive_split_bytes": {"all": {"current": self.split, "peak": self.split}},
        }

    def reset(self, asked=None):
        self.peak = self.now


@pytest.fixture
def allocator(monkeypatch):
    found = Allocator()
    monkeypatch.setattr(private, "on_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", found.stats)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", found.reset)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 4 * 2**30))
    monkeypatch.setattr(torch.cuda, "host_memory_stats", lambda: {"reserved_bytes.current": 4096})
    return found


def test_each_reader_has_its_own_peaks(allocator):
    one, two = Reader(), Reader()
    allocator.allocate(1000)
    allocator.allocate(-600)
    assert one.read() == DeviceFigures(400, 1000, 1000, 0)
    allocator.allocate(100)
    assert one.read() == DeviceFigures(500, 500, 1000, 0)
    assert two.read() == DeviceFigures(500, 1000, 1000, 0)  # the other's reading has not taken it


def test_the_meter_reads_the_figures_of_a_device(allocator):
    meter = CounterMeter(torch.device("cuda"))
    with meter.phase("forward"):
        allocator.allocate(5000)
    with meter.phase("backward"):
        allocator.allocate(-2000)
    record = meter.step()
    assert record.phases["forward"].allocated == 5000
    assert record.phases["backward"].allocated == 5000  # at its begin
    assert (record.allocated, record.peak, record.reserved) == (3000, 5000, 5000)


def test_categories_and_remainder_add_up_to_the_measured_total(allocator):
    """Tensors of a step, rounded to blocks, the workspace of a library, fragments, cache, context."""
    session = Session()
    session.start(phases=False)
    layer = nn.Linear(300, 300)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    tensors = session.tensors
    try:
        for _ in range(6):
            session.clock.enter("forward")
            x = torch.rand(100, 300)
            loss = layer(x).sum()
            session.clock.enter("backward")
            loss.backward()
            session.clock.enter("step")
            optimizer.step()
            optimizer.zero_grad()
            del x, loss
            allocator.now = sum(rounded(allocation.size) for allocation in tensors.live.values()) + 7000
            allocator.peak, allocator.reserved, allocator.split = 3 * 2**20, 5 * 2**20, 2**18
            session.step()
    finally:
        session.finish()
    assert session.failures == []
    found = session.categories.categories
    assert found["parameters"] == 4 * (300 * 300 + 300)
    assert found["workspace"] == 7000
    assert found["fragmented"] == 2**18
    assert sum(found.values()) == 3 * 2**30  # all that the driver counts
    high = session.clock.highs["step"]
    assert high.driver == 3 * 2**30
    assert (high.allocated, high.reserved, high.fragmented) == (3 * 2**20, 5 * 2**20, 2**18)
    assert session.series.measurements[-1].pinned == 4096
    assert device.driver_used() == 3 * 2**30


def test_without_snapshots_in_torch_none_is_written(monkeypatch, tmp_path):
    monkeypatch.delattr(torch.cuda.memory, "_record_memory_history", raising=False)
    monkeypatch.delattr(torch.cuda.memory, "_dump_snapshot", raising=False)
    assert not private.record_allocations()
    assert not private.dump_snapshot(tmp_path / "snapshot.pickle")
    assert list(tmp_path.iterdir()) == []
