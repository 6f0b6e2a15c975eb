"""traceml-ai: by its own command, and its diagnosis of a memory series that it measures on a GPU only."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("traceml")


def run_traceml(script: Path, seed: int) -> dict[str, Any]:
    """The final summary of ``traceml run SCRIPT --args SEED`` in its default mode, which needs no screen."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parents[1])}
        with socket.socket() as free:  # an aggregator of an earlier run may still use the default port
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        line = [COMMAND, "run", script, "--run-name", "one", "--logs-dir", folder, "--aggregator-port", port]
        line += ["--args", seed]
        began = time.monotonic()
        done = subprocess.run(
            [str(part) for part in line], capture_output=True, text=True, check=False, cwd=folder, env=environment
        )
        found = {"seconds": time.monotonic() - began, "code": done.returncode, "said": done.stderr[-2000:]}
        path = Path(folder) / "one" / "final_summary.json"
        if path.exists():
            summary = json.loads(path.read_text())
            found["diagnoses"] = {name: summary[name]["diagnosis"] for name in ("step_memory", "process", "system")}
        return found


def diagnose(peaks: Sequence[float], fewest: int | None = None) -> dict[str, Any]:
    """Its live diagnosis for the peaks of the steps; ``fewest``: steps that it needs, instead of 50."""
    from traceml_ai.analytics.trends import TrendBands
    from traceml_ai.diagnostics.step_memory.api import build_step_memory_diagnosis
    from traceml_ai.diagnostics.step_memory.policy import DEFAULT_STEP_MEMORY_THRESHOLDS, StepMemoryDiagnosisThresholds
    from traceml_ai.diagnostics.trends import TrendConfig
    from traceml_ai.renderers.step_memory import schema

    thresholds = DEFAULT_STEP_MEMORY_THRESHOLDS
    if fewest is not None:
        trend = TrendConfig(min_points=fewest, bands=TrendBands(warmup_frac=0.0))
        thresholds = StepMemoryDiagnosisThresholds(min_steps_for_diag=fewest, trend=trend)
    n, highest = len(peaks), max(peaks, default=0)
    metric = schema.StepMemoryCombinedMetric(
        metric="peak_allocated",
        device="cuda:0",
        series=schema.StepMemoryCombinedSeries(list(range(n)), list(peaks), list(peaks)),
        summary=schema.StepMemoryCombinedSummary(n, n, highest, highest, 0, 1.0, 0.0),
        coverage=schema.StepMemoryCombinedCoverage(n, n, n, 1, 1, False),
    )
    found = build_step_memory_diagnosis([metric], thresholds=thresholds)
    return {"kind": found.kind, "action": found.action, "steps_used": found.steps_used}
