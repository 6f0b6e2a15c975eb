"""One script in a child of a process that has imported torch, with or without a tool."""

import ctypes
import json
import os
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .probes import PROBES, Probe
from .steps import Steps

LIMIT = 300  # seconds


def run_forked(
    tool: str, script: Path, seed: int, read: Callable[[Path, Path, dict[str, Any]], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Run a script under a tool; returns the result, ``seconds``, ``cpu`` seconds, exit ``code`` and output (``said``).

    ``read`` is called in this process with the folder of the tool; its time is not counted.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sys.stdout.flush()
        sys.stderr.flush()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = _child(tool, script, seed, folder)
            finally:
                os._exit(code)
        _, status, used = os.wait4(child, 0)
        found: dict[str, Any] = {
            "seconds": time.monotonic() - began,
            "cpu": used.ru_utime + used.ru_stime,
            "code": os.waitstatus_to_exitcode(status),
            "said": (folder / "said.txt").read_text()[-2000:],
        }
        seen = folder / "seen.json"
        found |= json.loads(seen.read_text()) if seen.exists() else {}
        if read is not None and found["code"] == 0:
            found |= read(folder, script, found)
        return found


def _child(tool: str, script: Path, seed: int, folder: Path) -> int:
    signal.alarm(LIMIT)
    said = os.open(folder / "said.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ["OMP_NUM_THREADS"] = "1"
    # Else memory that the parent has freed would be used again, and resident memory would not rise.
    ctypes.CDLL(None).malloc_trim(0)
    sys.argv = [str(script), str(seed)]
    sys.path[0] = str(script.parent)
    sys.path.insert(1, str(script.parents[1]))
    make = PROBES[tool]
    try:
        seen = _watched(make(), script, folder) if make else _bare(script)
        (folder / "seen.json").write_text(json.dumps(seen))
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _bare(script: Path) -> dict[str, Any]:
    runpy.run_path(str(script), run_name="__main__")
    return {}


def _watched(probe: Probe, script: Path, folder: Path) -> dict[str, Any]:
    steps = Steps(probe.sample, probe.restart)
    probe.start(script, folder)
    steps.start()
    # The script's globals must live until the tool has measured for the last time.
    kept = runpy.run_path(str(script), run_name="__main__")
    steps.stop()
    return probe.finish() | {"marked_by": steps.level, "names": len(kept)}
