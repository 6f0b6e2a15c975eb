"""stormlog: its trend of what its tracker records on a CPU, the resident memory."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any


def diagnose(samples: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The result of its analyzer for (own bytes, children's bytes, time) of each step: its leak rule and its trend."""
    from stormlog.analyzer import MemoryAnalyzer
    from stormlog.profiler import MemorySnapshot, ProfileResult

    def snapshot(own: float, children: float, moment: float) -> MemorySnapshot:
        size = int(own + children)
        return MemorySnapshot(moment, size, size, size, size, size, 0, size)

    moments = [snapshot(*sample) for sample in samples]
    results = [
        ProfileResult("step", after.timestamp - before.timestamp, before, after, after, 0, 0, 0, 0)
        for before, after in pairwise(moments)
    ]
    analyzer = MemoryAnalyzer()
    leaks = [p for p in analyzer.analyze_memory_patterns(results) if p.pattern_type == "memory_leak"]
    trends = [i for i in analyzer.generate_performance_insights(results) if i.title == "Memory Growth Trend"]
    return {"leaks": len(leaks), "trends": len(trends)}
