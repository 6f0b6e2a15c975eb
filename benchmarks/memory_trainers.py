"""What memprofile costs in the trainers of other people, and what it finds there: a line for each trainer.

    python benchmarks/memory_trainers.py                            all that are installed, three rounds of 48 steps
    python benchmarks/memory_trainers.py --steps 96 --only keras,ultralytics --rounds 1
    python benchmarks/memory_trainers.py --leaks                    the same with a leak in each: verdict and holder
    python benchmarks/memory_trainers.py --leaks --no-bare --rounds 1    only what is found, not what it costs

The trainers are no dependencies of segkit; a folder for them is enough (``--packages``, it goes on PYTHONPATH):

    pip install --target FOLDER --no-deps lightning pytorch-lightning lightning-utilities torchmetrics transformers \
        accelerate segmentation-models-pytorch timm monai pytorch-ignite skorch keras ultralytics   (and what they need)

Every script of ``trainers/`` runs unchanged, each time in a new process, bare and under ``segkit memprofile`` in turns.
``written`` says whether the weights and numbers in the files that the trainer writes are the same with and without.
``cost`` is the ratio of their processor times: user and system, with the start of Python, the import of the trainer
and, under memprofile, the process that writes the report.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
TRAINERS = sorted(path.stem for path in (HERE / "trainers").glob("*_trainer.py"))


def run(line: list[str], environment: dict[str, str]) -> tuple[float, int, str]:
    """Processor seconds of a command with its children, its exit code, and what it said."""
    before = os.times()
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, done.returncode, done.stdout + done.stderr


def digests(folder: str, environment: dict[str, str]) -> dict[str, str]:
    """What the files in a folder hold, in a process that has the trainers' packages."""
    line = [sys.executable, str(HERE / "trainers" / "digests.py"), folder]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def compared(bare: dict[str, str], under: dict[str, str]) -> str:
    """How what was written with memprofile compares with what was written without it."""
    if not bare:
        return "nothing"
    other = sorted(name for name in bare.keys() | under.keys() if bare.get(name) != under.get(name))
    return f"other: {', '.join(other)}" if other else f"equal ({len(bare)})"


def watched(script: Path, arguments: list[str], environment: dict[str, str]) -> tuple[float, dict[str, Any], str]:
    """The same under memprofile: seconds, report and output."""
    with tempfile.TemporaryDirectory() as out:
        line = [sys.executable, "-m", "segkit", "memprofile", "--out", out, "--", str(script), *arguments]
        seconds, _, said = run(line, environment)
        path = Path(out) / "memory.json"
        return seconds, json.loads(path.read_text()) if path.exists() else {}, said


def row(name: str, options: argparse.Namespace, environment: dict[str, str]) -> dict[str, Any] | None:
    """The figures of one trainer; None where it cannot be run here."""
    script, arguments = HERE / "trainers" / f"{name}.py", [str(options.steps), *(["leak"] if options.leaks else [])]
    bare: list[float] = []
    under: list[float] = []
    report: dict[str, Any] = {}
    written = "not compared"
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            if not options.no_bare:
                seconds, code, said = run([sys.executable, str(script), *arguments], environment | {"TRAINER_OUT": one})
                if code:
                    print(f"{name}: {said.strip().splitlines()[-1]}", file=sys.stderr)
                    return None
                bare.append(seconds)
            seconds, report, said = watched(script, arguments, environment | {"TRAINER_OUT": other})
            if not report:
                print(f"{name} under memprofile: {said.strip()[-500:]}", file=sys.stderr)
                return None
            under.append(seconds)
            if not options.no_bare:
                written = compared(digests(one, environment), digests(other, environment))
    leak = next(iter(report["leaks"]), {})
    return {
        "trainer": name.removesuffix("_trainer"), "steps": report["steps"],
        "bare": median(bare or [0.0]), "under": median(under), "cost": median(under) / median(bare or under),
        "spread": [round(each, 1) for each in (*bare, *under)], "verdict": report["verdict"],
        "holder": leak.get("holder") or leak.get("held_by"), "stored": leak.get("stored_at"),
        "made": leak.get("allocated_at"), "kind": leak.get("kind"), "others": len(report["leaks"][1:]),
        "report": report["cost"], "problems": report["problems"], "scope": leak.get("scope"), "written": written,
    }  # fmt: skip


def place(line: str | None) -> str:
    """The file's name and the line's number."""
    return line.rpartition("/")[2] if line else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="parts of the names of trainers, with commas between them")
    parser.add_argument("--packages", default="", help="folder with the trainers")
    parser.add_argument("--leaks", action="store_true", help="with a leak in each")
    parser.add_argument("--no-bare", action="store_true", help="only under memprofile")
    options = parser.parse_args()
    paths = filter(None, [str(HERE.parent), options.packages, os.environ.get("PYTHONPATH")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    rows = []
    for name in TRAINERS:
        if not any(part in name for part in options.only.split(",")):
            continue
        found = row(name, options, environment)
        if found is not None:
            rows.append(found)
            print(json.dumps(found), flush=True)
    print(
        "\n| trainer | steps | bare, s | memprofile, s | cost | verdict | made | stored | holder | written |"
        "\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for each in rows:
        print(
            f"| {each['trainer']} | {each['steps']} | {each['bare']:.1f} | {each['under']:.1f} | {each['cost']:.2f}x | "
            f"{each['verdict']} | {place(each['made'])} | {place(each['stored'])} | {each['holder'] or '-'} | "
            f"{each['written']} |"
        )
    if rows:
        print(f"median cost {median(each['cost'] for each in rows):.2f}x")


if __name__ == "__main__":
    main()
