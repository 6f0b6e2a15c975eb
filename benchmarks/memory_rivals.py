"""Other tools and segkit on the zoo of leaks: the table of docs/benchmarks.md.

    python benchmarks/memory_rivals.py                       all tools over the whole zoo, seed 0, and the table
    python benchmarks/memory_rivals.py --seeds 3             as published
    python benchmarks/memory_rivals.py --only losses_list --tools memray,segkit
    python benchmarks/memory_rivals.py --table               the table of the results in the folder; runs nothing

The other tools are no dependencies of segkit. They need an environment that has segkit and torch as well:

    pip install memray==1.20.0 pytorch_memlab==0.3.2 traceml-ai==0.5.0 stormlog==0.4.3

Every script of tests/zoo runs unchanged, in a new process for each tool, forked from one that has imported torch
(``traceml`` by its own command). Results are kept in ``--out``, a file for each tool, script and seed, so that an
interrupted run can be continued; a script is run again when it, the version of the tool or segkit's code has changed.
``rivals/rules.py`` has the rule of each row. ``--rounds`` times every tool on a U-Net of 25 ms a step.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rivals.captures import read_captures
from rivals.forked import run_forked
from rivals.rules import ROWS
from rivals.scores import Case, Score, best, cells, score_segkit, zoo
from rivals.snapshots import read_snapshots
from rivals.traceml import run_traceml

HERE = Path(__file__).parent
SEGKIT = HERE.parent / "segkit" / "memory"
LOOP = HERE / "rivals" / "unet_loop.py"
PACKAGES = {
    "memray": "memray",
    "memlab": "pytorch_memlab",
    "traceml": "traceml-ai",
    "peaks": "traceml-ai",
    "rss": "stormlog",
}
TOOLS = ("segkit", "bare", "rss", "tracemalloc", "memray", "memlab", "peaks", "traceml")
READERS = {"memray": read_captures, "tracemalloc": read_snapshots}
SEEING = {"bare": ("forked",), "traceml": ("traceml",), "memray": ("steps", "forked", "probes", "captures"),
          "tracemalloc": ("steps", "forked", "probes", "snapshots")}  # fmt: skip
HEAD = (
    "tool", "leaks found", "of tensors", "of the host", "of workers", "clean accused", "allocation line",
    "lines shown, median", "storing line", "holder", "remedy for the case",
    "steps until then, median", "processor time, U-Net",
)  # fmt: skip


def watch(tool: str, case: Case) -> dict[str, Any]:
    """Run one script through one tool."""
    if tool == "segkit":
        return dict(zoo.judge(case.script, case.seed, False)._asdict())
    if tool == "traceml":
        return run_traceml(case.script, case.seed)
    return run_forked(tool, case.script, case.seed, READERS.get(tool))


def mark(tool: str, script: Path) -> str:
    """What the result depends on, besides the seed."""
    files = [script, script.parents[1] / "parts.py"]
    if tool == "segkit":
        files += [zoo.HERE / "run.py", *sorted(SEGKIT.rglob("*.py"))]
    else:
        files += [HERE / "rivals" / f"{name}.py" for name in SEEING.get(tool, ("steps", "forked", "probes"))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() if file.exists() else b"")
    return f"{digest.hexdigest()[:16]} {found_version(tool)} torch {torch.__version__}"


def found_version(tool: str) -> str:
    try:
        return version(PACKAGES[tool]) if tool in ("memray", "memlab", "traceml") else ""
    except PackageNotFoundError:
        return "missing"


def seen(tool: str, case: Case, out: Path, run: bool = True) -> dict[str, Any] | None:
    """The result of a tool, from the folder if it is there and up to date."""
    path = out / tool / f"{case.script.parent.name}-{case.script.stem}-{case.seed}.json"
    now = mark(tool, case.script)
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["mark"] == now or not run:
            return dict(kept["seen"])
    if not run:
        return None
    found = watch(tool, case)
    if found.get("code"):  # not kept: it is run again next time
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"mark": now, "at": time.strftime("%F %T"), "load": os.getloadavg()[0], "seen": found}))
    return found


def time_on_loop(tool: str, round_: int, out: Path, run: bool = True) -> float | None:
    """CPU seconds of a clean loop under a tool, with its start and its output."""
    path = out / "loop" / f"{tool}-{round_}.json"
    now = mark(tool, LOOP)
    if path.exists() and json.loads(path.read_text())["mark"] == now:
        return float(json.loads(path.read_text())["seconds"])
    if not run:
        return None
    began = os.times()
    code = zoo.profile_forked(LOOP, 0)[0] if tool == "segkit" else run_forked(tool, LOOP, 0)["code"]
    ended = os.times()
    seconds = ended.children_user + ended.children_system - began.children_user - began.children_system
    if code:
        print(f"{tool} on {LOOP.name}: code {code}", file=sys.stderr)
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"mark": now, "seconds": seconds, "load": os.getloadavg()[0]}))
    return seconds


def table(seen_by: dict[str, dict[Case, dict[str, Any]]], slower: dict[str, str]) -> str:
    """The Markdown table of what was run."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]

    def add(name: str, scores: list[Score], tool: str) -> None:
        if scores:
            lines.append("| " + " | ".join([name, *cells(scores), slower.get(tool, "-")]) + " |")

    add(
        "**segkit memprofile**",
        [score_segkit(case, found) for case, found in seen_by.get("segkit", {}).items()],
        "segkit",
    )
    for row in ROWS:
        if row.tool not in seen_by:
            continue
        usable = {case: found for case, found in seen_by[row.tool].items() if not found.get("code")}
        level, scores = best(row, usable)
        own_time = row.tool if row.tool != "peaks" and "stormlog" not in row.name else ""
        add(f"{row.name}{f' ({level})' if len(row.rules) > 1 else ''}", scores, own_time)
    return "\n".join(lines)


def missing(tools: list[str]) -> list[str]:
    """The packages that the chosen tools need and that are not installed."""
    lacking = []
    for package in sorted({PACKAGES[tool] for tool in tools if tool in PACKAGES}):
        try:
            version(package)
        except PackageNotFoundError:
            lacking.append(package)
    return lacking


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a script's name, such as leaks/host_")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--out", type=Path, default=Path("rivals_out"))
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the timed loop, 0 for none")
    parser.add_argument("--table", action="store_true", help="only the table, from what is in --out")
    options = parser.parse_args()
    tools = options.tools.split(",")
    if unknown := set(tools) - set(TOOLS):
        parser.error(f"no such tool: {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    if lacking := missing(tools):
        parser.error(
            f"not installed: {', '.join(lacking)}; the versions are on top of this file, or leave out by --tools"
        )
    torch.set_num_threads(1)
    scripts = [s for s in [*zoo.LEAKS, *zoo.CLEAN] if options.only in f"{s.parent.name}/{s.stem}"]
    seen_by: dict[str, dict[Case, dict[str, Any]]] = {tool: {} for tool in tools if tool != "bare"}
    for script in scripts:
        for case in (Case(script, seed) for seed in range(options.seeds)):
            for tool in tools:
                # Without a GPU the results of its command do not depend on the seed.
                found = None if tool == "traceml" and case.seed else seen(tool, case, options.out, not options.table)
                if found is None:
                    continue
                if tool != "bare":
                    seen_by[tool][case] = found
                if found.get("code"):
                    print(f"{tool} {script.stem}: code {found['code']}: {found['said'][-300:]}", file=sys.stderr)
            print(f"{script.parent.name}/{script.stem} {case.seed}", file=sys.stderr, flush=True)
    inside = [tool for tool in tools if tool not in ("traceml", "peaks")]
    taken = {tool: [] for tool in inside}
    for round_ in range(options.rounds):
        for tool in inside:
            if (seconds := time_on_loop(tool, round_, options.out, not options.table)) is not None:
                taken[tool].append(seconds)
    slower = {}
    if taken.get("bare"):
        bare = median(taken["bare"])
        slower = {tool: f"{median(times) / bare:.2f}x" for tool, times in taken.items() if times}
        print(f"\n{LOOP.name}: {bare:.2f} s of a processor bare, median of {len(taken['bare'])}", file=sys.stderr)
    print(table({tool: found for tool, found in seen_by.items() if found}, slower))
    return 0


if __name__ == "__main__":
    sys.exit(main())
