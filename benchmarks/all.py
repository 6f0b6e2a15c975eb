"""Every comparison that this machine allows, by one command.

    python benchmarks/all.py --list                     what there is, and what this machine cannot run, with the reason
    python benchmarks/all.py --quick                    each with tiny sizes: does it run? minutes
    python benchmarks/all.py --rounds 3 --json all.json --markdown all.md    hours; --only eval_speed,convert takes some
    python benchmarks/all.py --data dataset             # and those that need a dataset that segkit convert wrote

A round runs each comparison once, in a process of its own; every second round goes in the opposite order, so that what
warms or fills the machine does not favour the same one. A script that compares results ends with an error where they
differ: such a comparison is named, has no figures, and makes the exit code 1. Figures are the numbers that a script
prints, line by line, with the median and the range over the rounds. The Markdown has a section for each comparison, as
docs/benchmarks.md has them: what was run, on what, and tables.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tables import NUMBER, markdown, matched, numbers

HERE = Path(__file__).parent
DATA, GPU, PEER = "a dataset", "a GPU", "labelme2coco"


class Comparison(NamedTuple):
    """A script, what it compares, how it is called, and what it needs; ``{data}`` and ``{peer}`` are filled in."""

    name: str
    about: str
    quick: str = ""
    words: str = ""
    needs: tuple[str, ...] = ()

    @property
    def script(self) -> Path:
        """The file."""
        return HERE / (self.name if "." in self.name else f"{self.name}.py")


COMPARISONS = (
    Comparison("eval_speed", "scores, beside pycocotools", "--repeats 1 --images 10 --only '3 categories'"),
    Comparison("convert", "LabelMe to COCO, beside labelme2coco", "--peer {peer} --count 4 --rounds 1", "--peer {peer}",
               (PEER,)),
    Comparison("many_instances", "1,000 instances in a picture, each format", "--instances 20 --runs 1"),
    Comparison("pasting", "masks as run lengths, beside torchvision", "--instances 10 --sizes 240x320 --runs 1"),
    Comparison("loader", "loading, beside torchvision's reference", "--samples 2 --instances 3 --annotations 200"),
    Comparison("transport", "batches between processes, beside DataLoader", "--batches 4 --runs 1"),
    Comparison("batches", "pictures of one size and of many", "--models unet --images 4 --rounds 1"),
    Comparison("predict_speed", "prediction, beside a script with torchvision",
               "--pictures 2 --height 64 --width 64 --size 64 --max-size 64"),
    Comparison("onnx_speed", "ONNX graphs, beside torchvision's", "--side 128 --repeat 1"),
    Comparison("detector_memory", "memory of a training step, beside torchvision",
               "--size 96 --instances 2 --steps 1 --matching 5"),
    Comparison("fit", "rehearsed steps beside real ones", "--first 1"),
    Comparison("memory_overhead", "what a memory session costs", "--blocks 1 --steps 3"),
    Comparison("memory_rivals", "leaks, beside other tools", "--only losses_list --tools tracemalloc,segkit", "",
               ("memray",)),
    Comparison("depth_levels", "what 256 levels lose", "--pictures 20"),
    Comparison("coverage", "how often intervals contain the score", "--sets 2 --categories 1 --images 10"),
    Comparison("scaling", "what grows with the number of pictures", "--sizes 20,40 --parts convert,eval"),
    Comparison("targets_score", "what training targets would score", "{data} --sizes 64 --levels none --images 2",
               "{data}", (DATA,)),
    Comparison("plain_torchvision", "a default run, beside torchvision's tutorial",
               "{data} --steps 2 --seeds 0 --images 4 --size 64", "{data}", (DATA,)),
    Comparison("time_shares", "the time that evaluations take", "{data} --steps 2", "{data}", (DATA,)),
    Comparison("networks", "networks at equal steps", "{data} --steps 2 --seeds 0 --size 64 --models unet", "{data}",
               (DATA,)),
    Comparison("on_gpu.sh", "all that is measured on a GPU", "gpu-results --rehearse", "gpu-results", (GPU,)),
)  # fmt: skip
BY_HAND = {
    "coco_conversion": "needs another checkout to compare with", "deploy_start": "needs a run and its exported file",
    "int8": "trains first", "label_curve": "trains many times", "label_next": "trains many times",
    "large_picture": "a picture of 20,000 pixels a side", "less": "trains many times",
    "memory_trainers": "needs eight trainers of other people", "pruning": "trains many times",
    "touching": "trains many times", "transfer": "trains many times", "two_tasks": "trains many times",
}  # fmt: skip


def missing(comparison: Comparison, data: Path | None) -> str | None:
    """Why this machine cannot run it; None: it can."""
    for need in comparison.needs:
        if need == DATA and data is None:
            return "needs a dataset: --data"
        if need == GPU and not Path("/dev/nvidia0").exists():
            return "needs a GPU"
        if need == PEER and shutil.which(PEER) is None:
            return "needs labelme2coco on the path: pip install labelme2coco, in an environment of its own"
        if need not in (DATA, GPU, PEER) and find_spec(need) is None:
            return f"needs the package {need}"
    return None


def run(comparison: Comparison, data: Path | None, *, quick: bool) -> dict[str, Any]:
    """Run one comparison: its lines, exit code, and seconds on the clock and of the processor."""
    filled = {"data": shlex.quote(str(data)), "peer": shlex.quote(shutil.which(PEER) or PEER)}
    words = shlex.split((comparison.quick if quick else comparison.words).format(**filled))
    program = "bash" if comparison.script.suffix == ".sh" else sys.executable
    before, began = os.times(), time.monotonic()
    done = subprocess.run([program, comparison.script, *words], capture_output=True, text=True, check=False)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    program_name = "bash" if program == "bash" else "python"
    return {
        "command": shlex.join([program_name, f"benchmarks/{comparison.script.name}", *words]),
        "exit_code": done.returncode, "seconds": round(time.monotonic() - began, 1), "cpu": round(cpu, 1),
        "lines": done.stdout.splitlines(), "error": done.stderr[-2000:] if done.returncode else "",
    }  # fmt: skip


def figures(rounds: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """The numbers of lines that all rounds have: the words of a line, and median, least and most of each number."""
    return [
        {"line": words, "numbers": [{"median": median(each), "least": min(each), "most": max(each)}
                                    for each in numbers(lines)]}
        for (words, _), lines in matched(rounds).items() if NUMBER.search(lines[0])
    ]  # fmt: skip


def summary(comparison: Comparison, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """What all rounds of a comparison have given."""
    failed = next((each for each in rounds if each["exit_code"]), None)
    cpu = [each["cpu"] for each in rounds]
    return {
        "name": comparison.name, "about": comparison.about, "rounds": len(rounds), "command": rounds[-1]["command"],
        "correct": failed is None, "error": failed["error"] if failed else "",
        "cpu_seconds": {"median": median(cpu), "least": min(cpu), "most": max(cpu)},
        "figures": [] if failed else figures([each["lines"] for each in rounds]),
        "markdown": [] if failed else markdown([each["lines"] for each in rounds]),
        "last_output": rounds[-1]["lines"],
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    processor = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), "")
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: version(name) for name in ("torch", "torchvision", "pycocotools")}
    return {"platform": platform.platform(), "processor": processor or platform.processor(), "cores": cores,
            "python": platform.python_version(), "commit": commit or "unknown", "versions": versions}  # fmt: skip


def sections(rows: Sequence[dict[str, Any]], skipped: dict[str, str], on: dict[str, Any], *, quick: bool) -> str:
    """The figures as Markdown: a section for each comparison."""
    versions = ", ".join(f"{name} {number}" for name, number in on["versions"].items())
    where = f"commit {on['commit']}, {on['cores']} cores of {on['processor']}, Python {on['python']}, {versions}"
    sizes = " (tiny sizes: no measurement)" if quick else ""
    parts = []
    for row in rows:
        cpu = row["cpu_seconds"]
        rounds = "one round" if row["rounds"] == 1 else f"{row['rounds']} rounds in turns, median (least to most)"
        said = "\n".join(row["markdown"]) if row["correct"] else f"**Failed**, no figures:\n\n```\n{row['error']}\n```"
        parts.append(
            f"## {row['about'][0].upper()}{row['about'][1:]}\n\n`{row['command']}`{sizes}, {where}; {rounds}; "
            f"{cpu['median']:g} s of CPU a round.\n\n{said}\n"
        )
    left = [f"- {name}: {why}" for name, why in skipped.items()]
    return "\n".join([*parts, *(["## Not run\n", *left, ""] if left else [])])


def listing(data: Path | None) -> list[str]:
    """A line for each comparison: what it compares, and why it is left out here."""
    lines = []
    for each in COMPARISONS:
        why = missing(each, data)
        lines.append(f"{each.name:<18} {each.about}" + (f"  [skipped: {why}]" if why else ""))
    return [*lines, *(f"{name:<18} by hand: {why}" for name, why in BY_HAND.items())]


def main() -> int:
    """Run what can be run, in turns, and say what was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if options.list:
        print("\n".join(listing(options.data)))
        return 0
    wanted = set(filter(None, options.only.split(",")))
    if unknown := wanted - {each.name for each in COMPARISONS}:
        parser.error(f"--only {', '.join(sorted(unknown))}: no such comparison; --list has them")
    chosen = [each for each in COMPARISONS if not wanted or each.name in wanted]
    skipped = {each.name: why for each in chosen if (why := missing(each, options.data))}
    chosen = [each for each in chosen if each.name not in skipped]
    found: dict[str, list[dict[str, Any]]] = {each.name: [] for each in chosen}
    for number in range(options.rounds):
        for each in chosen if number % 2 == 0 else reversed(chosen):
            result = run(each, options.data, quick=options.quick)
            found[each.name].append(result)
            state = "done" if not result["exit_code"] else "FAILED"
            print(f"round {number + 1}: {each.name}: {state}, {result['cpu']} s of CPU", file=sys.stderr, flush=True)
    rows = [summary(each, found[each.name]) for each in chosen]
    on = machine()
    if options.markdown is not None:
        options.markdown.write_text(sections(rows, skipped, on, quick=options.quick), encoding="utf-8")
    if options.json is not None:
        document = {"machine": on, "quick": options.quick, "comparisons": rows, "skipped": skipped}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(
            f"\n== {row['name']}: {row['about']} ({'correct' if row['correct'] else 'FAILED'}, {row['rounds']} rounds)"
        )
        print(row["error"] or "\n".join(row["last_output"]))
        for each in row["figures"] if row["rounds"] > 1 else []:
            spread = ", ".join(f"{n['median']:g} ({n['least']:g} to {n['most']:g})" for n in each["numbers"])
            print(f"   {each['line']}: {spread}")
    for name, why in skipped.items():
        print(f"\n== {name}: skipped: {why}")
    return 0 if all(row["correct"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
