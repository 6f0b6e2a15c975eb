"""``metrics.jsonl``: the losses, scores and memory of a run, one JSON object per line."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segkit.data.files import named_when_full, temporary_file


class MetricsFile:
    """Writes ``metrics.jsonl`` line by line, so that a crash loses none."""

    def __init__(self, path: Path, keep_up_to_step: int | None = None) -> None:
        """Open for appending; lines of later steps than ``keep_up_to_step``, which will be repeated, are dropped.

        A link is not written through: with ``keep_up_to_step``, a file takes its place.
        """
        if path.is_symlink() and not path.is_file():
            path.unlink()
        if keep_up_to_step is not None and path.is_file():
            kept = [line for line in read_metrics(path) if line["step"] <= keep_up_to_step]
            with temporary_file(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._path, self._file = path, path.open("a", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; numbers that are not finite become null, as JSON has no NaN."""
        with named_when_full(self._path):
            self._file.write(json.dumps(_finite(line)) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with named_when_full(self._path):
            self._file.close()


def evaluations_of(path: Path, after: int) -> dict[int, bool]:
    """After which steps a session evaluated that went further than its checkpoint, and after which it did not.

    Empty where the file has no evaluation at all: a split without annotations is evaluated, and leaves no line.

    Args:
        path: The metrics file, with the lines that will be dropped.
        after: The step of the checkpoint.
    """
    steps: set[int] = set()
    evaluated: set[int] = set()
    for line in read_metrics(path) if path.is_file() else ():
        (evaluated if line["kind"] == "eval" else steps).add(line["step"])
    # Whether it would have evaluated after the very last step is not known, unless it did.
    known = {step for step in steps if after < step < max(steps)} | {step for step in evaluated if step > after}
    return {step: step in evaluated for step in known} if evaluated else {}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file; one that is not whole, as a crash or an editor left it, is skipped."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except (json.JSONDecodeError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int) and "kind" in line:
                yield line
