"""The results as a Markdown table, a row for each case: python benchmarks/gpu/summary.py OUT"""

import argparse
import json
from pathlib import Path
from typing import Any

from results import RESULTS

LONG = {"sync_lines", "cumulative_seconds", "categories", "peak", "leaks", "problems", "cost", "segkit", "torchvision",
        "one", "two", "missing"}  # fmt: skip


def read(out: Path) -> list[dict[str, Any]]:
    """All lines; one that a time limit cut off is left out."""
    found = []
    for line in (out / RESULTS).read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def cell(value: Any) -> str:
    """A figure in few characters."""
    if isinstance(value, dict) and set(value) == {"median", "q1", "q3"}:
        return f"{value['median']:g} ({value['q1']:g} to {value['q3']:g})"
    return f"{value:.5g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")[:160]


def table(lines: list[dict[str, Any]]) -> str:
    """What was measured, without long lists."""
    rows = ["| stage | case | figures |", "|---|---|---|"]
    for line in lines:
        figures = {name: value for name, value in line.items() if name not in LONG | {"stage", "case"}}
        words = ", ".join(f"{name} {cell(value)}" for name, value in figures.items() if value is not None)
        rows.append(f"| {line['stage']} | {line['case']} | {words} |")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    text = table(read(parser.parse_args().out))
    print(text)
