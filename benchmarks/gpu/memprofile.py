"""``memprofile`` on the device: the verdict on a leaking and a clean script, the line, the categories, the overhead."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from results import Stage, stage

SCRIPT = Path(__file__).with_name("leaking.py")
LEAK, CLEAN = 3, 0  # exit codes
TEXT = "# the leak"


def run(running: Stage, *options: str, watched: bool) -> tuple[int, dict[str, Any], list[float]]:
    """Run the script, under ``memprofile`` or by itself: exit code, report, seconds of each step."""
    steps, side = ("36", "512") if not running.rehearse else ("28", "32")
    times = running.folder / "times.json"
    script = [str(SCRIPT), running.device, "--steps", steps, "--side", side, "--times", str(times), *options]
    before = ["-m", "segkit", "memprofile", "--quiet", "--json", "--out", str(running.folder / "m"), "--"]
    done = subprocess.run([sys.executable, *(before if watched else []), *script], capture_output=True, text=True)
    if done.returncode not in (LEAK, CLEAN):
        raise SystemExit(f"exit code {done.returncode}: {done.stderr[-800:]}")
    return done.returncode, json.loads(done.stdout) if watched else {}, json.loads(times.read_text())


def figures_of(document: dict[str, Any]) -> dict[str, Any]:
    """What is compared between machines: verdict, lines, and what the categories do not explain of the peak."""
    categories = document["categories"]
    total = sum(categories.values()) or 1
    return {
        "verdict": document["verdict"],
        "counted": document["counted"],
        "categories": categories,
        "remainder_share": round(categories.get("remainder", 0) / total, 5),
        "peak": document["peak"],
        "problems": document["problems"],
        "cost": document["cost"],
        "leaks": [
            {name: value for name, value in leak.items() if isinstance(value, str | int | float | bool)}
            for leak in document["leaks"]
        ],
    }


def main() -> None:
    number = next(i for i, line in enumerate(SCRIPT.read_text().splitlines(), 1) if TEXT in line)
    with stage("memprofile") as running:
        with running.case("leaking script") as figures:
            code, document, _ = run(running, "--leak", watched=True)
            figures |= figures_of(document) | {"exit_code": code, "leaking_line": number}
            if code != LEAK or f"{SCRIPT.name}:{number}" not in json.dumps(document["leaks"]):
                raise SystemExit(f"exit code {code}; line {number} of {SCRIPT.name} was expected")
        for model in ("conv", "detector") if not running.rehearse else ("conv",):
            with running.case(f"clean script, {model}") as figures:
                _, _, bare = run(running, "--model", model, watched=False)
                code, document, watched = run(running, "--model", model, watched=True)
                half = len(bare) // 2
                figures |= figures_of(document) | {
                    "exit_code": code,
                    "step_ms": round(1000 * median(bare[half:]), 3),
                    "step_ms_watched": round(1000 * median(watched[half:]), 3),
                    "overhead": round(median(watched[half:]) / median(bare[half:]), 3),
                    "overhead_first_half": round(sum(watched[:half]) / sum(bare[:half]), 3),
                }
                if code != CLEAN:
                    raise SystemExit(f"exit code {code} for a clean script")


if __name__ == "__main__":
    main()
