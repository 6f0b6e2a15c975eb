"""The figures of a run, a line each: ``metrics.jsonl``."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from segkit.data.files import temporary_file


class MetricsFile:
    """``metrics.jsonl``: a line as soon as there is one, so that a crash loses none."""

    def __init__(self, path: Path, keep_up_to_step: int | None = None) -> None:
        """Open for appending; lines of later steps than ``keep_up_to_step`` were redone and go."""
        if keep_up_to_step is not None and path.is_file():
            kept = [line for line in read_metrics(path) if line["step"] <= keep_up_to_step]
            with temporary_file(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; what is not finite becomes null, which JSON has and NaN is not."""
        self._file.write(json.dumps(_finite(line)) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file; a last line that a crash cut off is passed over."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue
