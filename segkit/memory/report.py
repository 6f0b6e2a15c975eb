"""The record of a memory profile, as ``memory.json`` holds it."""

from dataclasses import dataclass
from statistics import median
from typing import Any

from segkit.memory.meter import PHASES, PhaseRecord
from segkit.memory.recorder import Sample
from segkit.memory.verdict import Suspect, Verdict


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Where the memory of a training step goes, and whether it stays there.

    Attributes:
        verdict: Whether anything leaks.
        suspects: What stays, the largest first.
        samples: Every step.
        after: The phases after the last step: evaluation and checkpoint.
        peaks: Highest allocated bytes by phase, over all steps.
        counted: What "allocated" counts: the CUDA allocator's bytes, or those of live tensors.
        device: The device's name.
        limit: Bytes that the device has; None on a CPU.
        model: A sentence on what was measured.
    """

    verdict: Verdict
    suspects: tuple[Suspect, ...]
    samples: tuple[Sample, ...]
    after: dict[str, PhaseRecord]
    peaks: dict[str, int]
    counted: str
    device: str
    limit: int | None
    model: str

    def to_json(self) -> dict[str, Any]:
        """As ``memory.json`` holds it."""
        records = [sample.record for sample in self.samples]
        table = {}
        for name in PHASES:
            present = [phases[name] for phases in (*(r.phases for r in records), self.after) if name in phases]
            if present or name in self.peaks:
                table[name] = {
                    "seconds": median(p.seconds for p in present) if present else None,
                    "allocated": self.peaks.get(name),
                    "rss": max((p.rss for p in present), default=None),
                }
        highest = max(records, key=lambda record: record.peak or 0)
        return {
            "verdict": self.verdict,
            "steps": len(records),
            "leaks": [self._leak(suspect) for suspect in self.suspects],
            "growth": [],
            "phases": table,
            "peak": {
                "allocated": max(self.peaks.values()),
                "phase": max(self.peaks, key=lambda name: self.peaks[name]),
                "step": records.index(highest) + 1,  # of the training step with the highest peak
                "rss": max(r.rss for r in records),
            },
            "counted": self.counted,
            "device": self.device,
            "model": self.model,
            "series": {
                "allocated": [record.allocated for record in records],
                "peak": [record.peak for record in records],
                "reserved": [record.reserved for record in records],
                "rss": [record.rss for record in records],
                "malloc": [sample.malloc for sample in self.samples],
                "seconds": [record.seconds for record in records],
            },
        }

    def _leak(self, suspect: Suspect) -> dict[str, Any]:
        free = None if self.limit is None else self.limit - max(s.record.peak or 0 for s in self.samples)
        return {
            "kind": "kept tensors",
            "where": "device" if self.limit is not None else "host",
            "bytes_per_step": suspect.bytes_per_step,
            "allocated_at": suspect.site.line,
            "operation": suspect.site.operation,
            "steps_seen": suspect.cohorts,
            "is_leak": suspect.is_leak,
            "steps_to_oom": None if free is None else int(free / suspect.bytes_per_step),
        }
