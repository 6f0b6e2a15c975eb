"""Run ``segkit memprofile -- SCRIPT`` on the whole zoo: a line for each case and seed, and a table.

    python tests/zoo/run.py                       every leak, and every clean script that looks like one; seed 0
    python tests/zoo/run.py --seeds 3             as published in docs/benchmarks.md
    python tests/zoo/run.py --only losses_list    some of them: parts of names, with commas between them
    python tests/zoo/run.py --through command     by the command line; else in processes forked from one that has
                                                  imported torch, which takes a fifth of the time

A leak's script has the expected report in comments: ``# holder: REGEX`` on top, ``# made`` on the lines that allocate,
``# stored`` on those that store.
"""

import argparse
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib.pyplot  # noqa: F401 -- imported once, for all children
import torch
import torchvision  # noqa: F401

from segkit.memory.process import FOLDER, SETTINGS, attach
from segkit.memory.report.merge import merge

HERE = Path(__file__).parent
LEAKS, CLEAN = sorted((HERE / "leaks").glob("*.py")), sorted((HERE / "clean").glob("*.py"))


class Result(NamedTuple):
    """The result of one case."""

    name: str
    seed: int
    verdict: str
    found: bool
    made: bool | None
    stored: bool | None
    held: bool | None
    seconds: float
    report: dict[str, Any]


def profile_forked(script: Path, seed: int) -> tuple[int, dict[str, Any], str]:
    """Run one script as the command would, in a child of this process; returns what ``profile`` does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"every": 1, "steps": None, "deep": False, "limit": None}
        (folder / SETTINGS).write_text(json.dumps(settings))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = _run_here(script, seed, folder)
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        document, failures = merge(folder)
        said = (folder / "said.txt").read_text()
    verdict = (document or {}).get("verdict")
    return code or {"leak": 3, "clean": 0}.get(str(verdict), 5), document or {}, said + "".join(failures)


def _run_here(script: Path, seed: int, folder: Path) -> int:
    said = os.open(folder / "said.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ |= {FOLDER: str(folder), "OMP_NUM_THREADS": "1"}
    sys.argv = [str(script), str(seed)]
    sys.path[0] = str(script.parent)
    sys.path.insert(1, str(HERE))
    attach.attach()
    mine = attach.attached()
    try:
        runpy.run_path(str(script), run_name="__main__")
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        assert mine is not None
        mine.finish()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def profile(script: Path, seed: int, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run one script through the command; returns exit code, report and output."""
    with tempfile.TemporaryDirectory() as out:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]),
        }  # fmt: skip
        line = [sys.executable, "-m", "segkit", "memprofile", "--out", out, *options, "--", str(script), str(seed)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
        path = Path(out) / "memory.json"
        return done.returncode, json.loads(path.read_text()) if path.exists() else {}, done.stderr + done.stdout


def expected(script: Path) -> tuple[str, str | None, set[int], set[int]]:
    """The holder, where the memory is, and the lines that may be named."""
    text = script.read_text(encoding="utf-8")
    holder = re.search(r"^# holder: (.+)$", text, re.M)
    where = re.search(r"^# where: (.+)$", text, re.M)
    lines = [(number, line.rpartition("#")[2]) for number, line in enumerate(text.splitlines(), 1) if "  #" in line]
    made = {number for number, words in lines if "made" in words}
    stored = {number for number, words in lines if "stored" in words}
    assert holder is not None, script
    return holder[1], where[1] if where else None, made, stored


def judge(script: Path, seed: int, by_command: bool = True) -> Result:
    """Run a leak or a clean script and compare with what is expected."""
    began = time.monotonic()
    code, report, said = (profile if by_command else profile_forked)(script, seed)
    seconds = time.monotonic() - began
    verdict = report.get("verdict", f"failed with {code}: {said[-300:]}")
    if script.parent.name == "clean":
        return Result(script.stem, seed, verdict, verdict == "clean" and code == 0, None, None, None, seconds, report)
    holder, where, made, stored = expected(script)
    leaks = [leak for leak in report.get("leaks", []) if leak["is_leak"]]
    best = next((leak for leak in leaks if re.search(holder, f"{leak['held_by']} {leak['holder']}")), None)
    leak = best or (leaks[0] if leaks else None)
    if leak is None:
        return Result(script.stem, seed, verdict, False, None, None, None, seconds, report)
    return Result(
        script.stem, seed, verdict, verdict == "leak" and code == 3 and (where is None or leak["where"] == where),
        _at(leak["allocated_at"], script, made) if made else None,
        _at(leak["stored_at"], script, stored) if stored else None,
        best is not None and (best["verified"] or str(best["held_by"]) == holder or "cycle" in holder or "ctx" in holder),
        seconds, report,
    )  # fmt: skip


def _at(place: str | None, script: Path, lines: set[int]) -> bool:
    file, _, number = (place or "").rpartition(":")
    return file.endswith(script.name) and int(number) in lines


def main() -> int:
    """Run the chosen cases; exit code 1 if anything was not as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--through", choices=["command", "fork"], default="fork")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for script in [*LEAKS, *CLEAN]:
        for seed in range(options.seeds):
            if any(part in f"{script.parent.name}/{script.stem}" for part in options.only.split(",")):
                result = judge(script, seed, options.through == "command")
                results.append((script.parent.name, result))
                marks = "  ".join(
                    f"{word} {'-' if value is None else 'yes' if value else 'NO'}"
                    for word, value in (("line", result.made), ("stored", result.stored), ("holder", result.held))
                )
                right = "ok   " if result.found else "WRONG"
                print(f"{right} {script.parent.name}/{script.stem:28s} {result.verdict:12s} {marks}  {result.seconds:.1f} s",
                      flush=True)  # fmt: skip
                if not result.found or False in (result.made, result.stored, result.held):
                    for leak in result.report.get("leaks", []):
                        shown = {key: leak[key] for key in ("kind", "where", "is_leak", "bytes_per_step", "allocated_at",
                                 "held_by", "holder", "stored_at", "scope", "verified", "steps_seen")}  # fmt: skip
                        print("      ", json.dumps(shown))
                    for problem in result.report.get("problems", []):
                        print("       problem:", problem)
    leaks = [result for kind, result in results if kind == "leaks"]
    clean = [result for kind, result in results if kind == "clean"]
    print(f"\nleaks found          {sum(r.found for r in leaks)} of {len(leaks)}")
    for word, values in (("allocation line", [r.made for r in leaks]), ("storing line", [r.stored for r in leaks]),
                         ("holder", [r.held for r in leaks])):  # fmt: skip
        known = [value for value in values if value is not None]
        print(f"{word:20s} {sum(known)} of {len(known)}")
    costs = [r.report["cost"] for _, r in results if r.report.get("cost")]
    since = [leak["leak_since"] for r in leaks for leak in r.report.get("leaks", []) if leak.get("leak_since")]
    for word, values in (
        ("step of the verdict", since),
        ("longest search, s", [c["longest_search"] for c in costs if c["longest_search"]]),
        ("longest census, s", [c["longest_census"] for c in costs if c["longest_census"]]),
    ):
        if values:
            print(f"{word:20s} {median(values):.2f} in the middle, {max(values):.2f} at most")
    print(f"clean called leak    {sum(r.verdict == 'leak' for r in clean)} of {len(clean)}")
    print(f"clean called watch   {sum(r.verdict == 'watch' for r in clean)} of {len(clean)}")
    if options.json:
        options.json.write_text(json.dumps([r._asdict() for _, r in results]))
    return int(not all(r.found and False not in (r.made, r.stored, r.held) for _, r in results))


if __name__ == "__main__":
    sys.exit(main())
