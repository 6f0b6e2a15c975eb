"""Results of a stage, as JSON lines: a figure is written as soon as it is known, so that a time limit loses no other.

Every stage is called as ``python benchmarks/gpu/STAGE.py OUT [--rehearse]`` and appends to ``OUT/results.jsonl``. With
``--rehearse`` it runs on the CPU with tiny sizes: the figures mean nothing, but a mistake in the code shows.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

RESULTS = "results.jsonl"


class Stage:
    """A stage that measures one case after the other.

    Attributes:
        rehearse: Whether this is a dry run on the CPU.
        device: ``cuda``, or ``cpu`` in a rehearsal.
        folder: For temporary files; deleted at the end.
        failed: Cases that failed.
    """

    def __init__(self, name: str, out: Path, rehearse: bool, folder: Path) -> None:
        self.name, self.out, self.rehearse, self.folder = name, out, rehearse, folder
        self.device = "cpu" if rehearse else "cuda"
        self.failed: list[str] = []

    def write(self, case: str, **figures: Any) -> None:
        """Append the figures of a case."""
        line = {"stage": self.name, "case": case, **figures}
        with (self.out / RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{self.name}: {case}: {json.dumps(figures)[:300]}", flush=True)

    @contextmanager
    def case(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the figures to fill in; if the case fails, write its error and go on with the next one."""
        figures: dict[str, Any] = {}
        began = time.perf_counter()
        try:
            yield figures
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            figures["error"] = f"{type(error).__name__}: {error}"[:1000]
            self.failed.append(name)
        self.write(name, **figures, case_seconds=round(time.perf_counter() - began, 2))


@contextmanager
def stage(name: str) -> Iterator[Stage]:
    """Run a stage from the command line; exits with 1 if a case failed."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("out", type=Path, help=f"folder that receives {RESULTS}")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny sizes")
    asked = parser.parse_args()
    import torch

    if not asked.rehearse and not torch.cuda.is_available():
        raise SystemExit(f"{name}: no CUDA device is available; try --rehearse")
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"segkit-{name}-") as folder:
        running = Stage(name, asked.out, asked.rehearse, Path(folder))
        yield running
    if running.failed:
        raise SystemExit(f"{name}: failed: {', '.join(running.failed)}")


def spread(values: list[float], digits: int = 2) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": round(median(values), digits), "q1": round(low, digits), "q3": round(high, digits)}


def gib(count: float | None) -> float | None:
    """Bytes as GiB."""
    return None if count is None else round(count / 2**30, 3)
