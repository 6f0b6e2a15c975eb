"""A training run of segkit with what was measured in each of its steps."""

import gc
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from results import gib, spread

from segkit.config.train import TrainConfig
from segkit.memory.measure.meter import CounterMeter
from segkit.runs.metrics_file import read_metrics
from segkit.training.train import train

WARM_UP = 5  # steps that are not counted


@dataclass
class Syncs:
    """Times that the host waited for the device, and the lines where it did, as PyTorch warns of them."""

    count: int = 0
    lines: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def counted(self):
        """Count synchronisations inside the context; on a CPU there are none."""
        if not torch.cuda.is_available():
            yield
            return
        shown = warnings.showwarning
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = self._show
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")
                warnings.showwarning = shown

    def _show(self, message, category, filename, lineno, file=None, line=None):
        if "synchronizing" in str(message):
            self.count += 1
            self.lines["/".join(Path(filename).parts[-3:]) + f":{lineno}"] += 1


@dataclass
class Trained:
    """A run and its steps: the lines of ``metrics.jsonl``, with ``seconds``, ``load_seconds`` and ``syncs`` of each."""

    run: Path
    steps: list[dict[str, Any]]
    syncs: Syncs

    def of_steps(self, name: str) -> list[Any]:
        """A figure of every step after the warm-up."""
        return [step[name] for step in self.steps[min(WARM_UP, len(self.steps) // 2) :]]

    def figures(self) -> dict[str, Any]:
        """Time of a step, with and without waiting for pictures, and its memory; milliseconds and GiB."""
        seconds, load = self.of_steps("seconds"), self.of_steps("load_seconds")
        return {
            "step_ms": spread([1000 * each for each in seconds]),
            "step_without_loading_ms": spread([1000 * (a - b) for a, b in zip(seconds, load, strict=True)]),
            "peak_gib": gib(self.most("peak")),
            "reserved_gib": gib(self.most("reserved")),
            "steps": len(self.steps),
            "micro_batch": self.steps[-1]["micro_batch"],
        }

    def most(self, name: str) -> int | None:
        """The highest value of a memory figure over all steps, bytes; None on a CPU."""
        return max((step[name] for step in self.steps if step[name] is not None), default=None)


def train_run(dataset: Path, out: Path, *, count_syncs: bool = False, **options: Any) -> Trained:
    """Train with segkit in this process.

    Args:
        dataset: A COCO file.
        out: Folder of the runs.
        count_syncs: Whether to count synchronisations, which makes steps slower.
        options: Options of ``segkit train``.
    """
    steps: list[dict[str, Any]] = []
    syncs = Syncs()

    class StepMeter(CounterMeter):
        """The usual meter, which also keeps the time of each step."""

        def step(self, *arguments: Any) -> Any:
            before = sum(step["syncs"] for step in steps)
            record = super().step(*arguments)
            load = record.phases["load"].seconds if "load" in record.phases else 0.0
            reserved = [phase.reserved for phase in record.phases.values() if phase.reserved is not None]
            steps.append(
                {
                    "seconds": record.seconds,
                    "load_seconds": load,
                    "reserved": max(reserved, default=None),
                    "syncs": syncs.count - before,
                }
            )
            return record

    free_device_memory()
    fixed = {"weights": "none", "augment": "none", "eval_every": 10**6}
    config = TrainConfig(**(fixed | {"dataset": dataset, "out": out} | options))
    with syncs.counted() if count_syncs else _nothing():
        summary = train(config, make_meter=StepMeter)
    lines = [line for line in read_metrics(summary.run / "metrics.jsonl") if line["kind"] == "step"]
    merged = [line | step for line, step in zip(lines, steps, strict=True)]
    return Trained(summary.run, merged, syncs)


@contextmanager
def _nothing():
    yield


def free_device_memory() -> None:
    """Give back what earlier cases used, and lift a memory limit that they had set."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.reset_peak_memory_stats()


def loss_difference(some: Trained, other: Trained) -> float:
    """The largest relative difference between the losses of two runs, step by step."""
    pairs = zip(some.steps, other.steps, strict=True)
    return max(abs(a["loss"] - b["loss"]) / max(abs(b["loss"]), 1e-12) for a, b in pairs)
