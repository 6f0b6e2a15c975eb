"""The folder of a run: its files, how to find it, and the versions that it was made with."""

import json
import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from segkit.config.fields import read_toml
from segkit.data.files import is_file, temporary_file
from segkit.data.locks import only_writer_in
from segkit.errors import InputError

LATEST = "latest"
METRICS, CONFIG, ORIGIN, LABELS, EVENTS = "metrics.jsonl", "config.toml", "origin.json", "labels.txt", "events"
FAILURES = "failures"  # a folder of steps that failed
_LONGEST_NAME = 255  # of a file, in bytes, on common file systems


def check_name(out: Path, name: str | None) -> None:
    """Check that a new run can have a name.

    Raises:
        InputError: A run of that name exists, and has more than a first step that failed.
    """
    if name is not None and os.path.lexists(out / name) and not failed_at_once(out / name):
        raise InputError(
            f"{out / name}: holds a run", f"go on with it: --resume {out / name}, or choose another --name"
        )


def new_run(out: Path, name: str | None, model: str) -> Path:
    """Make the folder of a new run.

    Raises:
        InputError: A run of that name exists.
    """
    out.mkdir(parents=True, exist_ok=True)
    if name is not None:
        check_name(out, name)
        if (out / name).exists():
            with only_writer_in(out / name, "wait for its end, or end it"):
                shutil.rmtree(out / name)
        (out / name).mkdir()
        return out / name
    while True:
        taken = [int(m[1]) for p in out.iterdir() if (m := re.fullmatch(rf"{re.escape(model)}-(\d+)", p.name))]
        run = out / f"{model}-{max(taken, default=0) + 1}"
        try:
            run.mkdir()
        except FileExistsError:  # another run that started at this moment took the number
            continue
        return run


def failed_at_once(run: Path) -> bool:
    """Whether a run failed in its first step, and holds nothing but what tells of that."""
    steps, kept = run / METRICS, run / FAILURES
    if run.is_symlink() or not kept.is_dir() or (steps.exists() and steps.stat().st_size):
        return False
    # It is removed when a new run takes its name: not with anything in it that a first step does not leave.
    return {path.name for path in run.iterdir()} <= {METRICS, CONFIG, ORIGIN, LABELS, EVENTS, FAILURES}


def remove_run(run: Path) -> None:
    """Remove the folder of a run that learnt nothing, and the folder of runs if nothing else is in it."""
    shutil.rmtree(run, ignore_errors=True)
    with suppress(OSError):  # other runs are in it
        run.parent.rmdir()


def point_latest(run: Path) -> bool:
    """Point ``runs/latest`` to this run: a link, or a file with its name where the file system has no links.

    Returns:
        Whether it points there now: a folder or file of the user's with that name is left alone.
    """
    latest = run.parent / LATEST
    if os.path.lexists(latest) and not latest.is_symlink() and _named_in(latest) is None:
        return False
    with temporary_file(latest, shared=True) as temporary:
        try:
            temporary.symlink_to(run.name, target_is_directory=True)
        except OSError:
            temporary.write_text(run.name, encoding="utf-8")
    return True


def _named_in(latest: Path) -> Path | None:
    """The run whose name is in a file, as ``point_latest`` writes it; None where it is no such file."""
    if not is_file(latest) or latest.stat().st_size > _LONGEST_NAME:
        return None
    name = latest.read_text(encoding="utf-8", errors="replace").strip()
    is_name = bool(name) and "/" not in name and "\0" not in name
    return latest.parent / name if is_name and (latest.parent / name).is_dir() else None


def find_run(path: Path) -> Path:
    """Check that a path is a run's folder, and resolve ``runs/latest``.

    Raises:
        InputError: It is not.
    """
    if path.name == LATEST and is_file(path):
        path = _named_in(path) or path
    if not is_file(path / CONFIG):
        is_in_run = is_file(path) and is_file(path.parent / CONFIG)
        raise InputError(
            f"{path}: not a run", f"name the run's folder: {path.parent}" if is_in_run else "train one: segkit train"
        )
    return path.resolve() if path.name == LATEST else path


def newest_without_checkpoint(out: Path, since: Path | None) -> Path | None:
    """The newest run that was started after another one, and has no checkpoint: it failed, was killed, or is going on.

    Args:
        out: The folder of runs.
        since: A run in it; None: any run counts.
    """
    began = _began(since) if since is not None else None
    found = {path: when for path in out.glob(f"*/{ORIGIN}") if (when := _began(path.parent)) is not None}
    without = [
        (when, path.parent)
        for path, when in found.items()
        if (began is None or when > began)
        and not any(path.parent.glob("*.pt"))
        and not path.parent.is_symlink()
        and not failed_at_once(path.parent)
    ]
    return max(without)[1] if without else None


def _began(run: Path) -> int | None:
    """When a run was started: the time of a file that is written once; None where it has none."""
    try:
        return (run / ORIGIN).stat().st_mtime_ns
    except OSError:
        return None


def dataset_of_run(checkpoint: Path) -> Path | None:
    """The dataset that the run of a checkpoint was trained on: a folder or a COCO file, which may be gone.

    None where the checkpoint is in no run's folder.
    """
    config = checkpoint.parent / CONFIG
    return Path(str(read_toml(config).get("dataset", "dataset"))) if config.is_file() else None


def fold_of_run(checkpoint: Path) -> int | None:
    """The fold that the run of a checkpoint was validated with; None where it was none, or there is no run."""
    config = checkpoint.parent / CONFIG
    fold = read_toml(config).get("fold") if config.is_file() else None
    return fold if isinstance(fold, int) else None


def write_origin(run: Path, device: str, world_size: int, more: dict[str, Any]) -> None:
    """Write ``origin.json``.

    Args:
        run: The folder of the run.
        device: The name of its device.
        world_size: How many ranks share it.
        more: What it says besides: the teacher, the memory that the run will need.
    """
    packages = ("segkit", "torch", "torchvision", "numpy", "opencv-python", "pycocotools")
    origin = {
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "commit": _commit(),
        "platform": platform.platform(),
        "device": device,
        "ranks": world_size,
        **more,
    }
    (run / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def _commit() -> str | None:
    """The commit of the working folder (the user's project, not segkit), if it is a git checkout."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
