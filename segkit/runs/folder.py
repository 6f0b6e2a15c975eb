"""The folder of a run: its files, the way to find it, and what it was made with."""

import json
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from segkit.errors import InputError

LATEST = "latest"
METRICS, CONFIG, ORIGIN, LABELS, EVENTS = "metrics.jsonl", "config.toml", "origin.json", "labels.txt", "events"


def new_run(out: Path, name: str | None, model: str) -> Path:
    """Make the folder of a new run.

    Raises:
        InputError: A run of that name exists.
    """
    out.mkdir(parents=True, exist_ok=True)
    if name is not None:
        try:
            (out / name).mkdir()
        except FileExistsError:
            raise InputError(
                f"{out / name}: holds a run",
                f"go on with it: --resume {out / name}, or choose another --name",
            ) from None
        return out / name
    while True:
        taken = [int(m[1]) for p in out.iterdir() if (m := re.fullmatch(rf"{re.escape(model)}-(\d+)", p.name))]
        run = out / f"{model}-{max(taken, default=0) + 1}"
        try:
            run.mkdir()
        except FileExistsError:  # another run that starts at this moment took the number
            continue
        return run


def point_latest(run: Path) -> None:
    """Make ``runs/latest`` mean this run: a link, or where there are none a file with its name."""
    latest, beside = run.parent / LATEST, run.parent / f".{LATEST}.{os.getpid()}"
    try:
        beside.symlink_to(run.name, target_is_directory=True)
    except OSError:
        beside.write_text(run.name, encoding="utf-8")
    beside.replace(latest)


def find_run(path: Path) -> Path:
    """The folder of a run: ``runs/latest`` is followed.

    Raises:
        InputError: There is none.
    """
    if path.is_file() and path.name == LATEST:
        path = path.parent / path.read_text(encoding="utf-8").strip()
    if not (path / CONFIG).is_file():
        raise InputError(f"{path}: not a run", "train one: segkit train")
    return path.resolve() if path.name == LATEST else path


def write_origin(run: Path, device: str, world_size: int) -> None:
    """Note what the run is made with: versions, commit, device."""
    packages = ("segkit", "torch", "torchvision", "numpy", "opencv-python", "pycocotools")
    origin = {
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "commit": _commit(),
        "platform": platform.platform(),
        "device": device,
        "ranks": world_size,
    }
    (run / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def _commit() -> str | None:
    """The commit of the working folder, where it is a checkout: the user's, not segkit's."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


class MetricsFile:
    """``metrics.jsonl``: a line as soon as there is one, so that a crash loses none."""

    def __init__(self, path: Path, keep_up_to_step: int | None = None) -> None:
        """Open for appending; lines of later steps than ``keep_up_to_step`` were redone and go."""
        if keep_up_to_step is not None and path.is_file():
            kept = [line for line in read_metrics(path) if line["step"] <= keep_up_to_step]
            beside = path.with_name(f".{path.name}.writing")
            beside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            beside.replace(path)
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
