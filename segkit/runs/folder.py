"""The folder of a run: its files, how to find it, and the versions that it was made with."""

import json
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from segkit.config.fields import read_toml
from segkit.data.files import temporary_file
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
        except FileExistsError:  # another run that started at this moment took the number
            continue
        return run


def point_latest(run: Path) -> None:
    """Point ``runs/latest`` to this run: a link, or a file with its name where the file system has no links."""
    with temporary_file(run.parent / LATEST, shared=True) as temporary:
        try:
            temporary.symlink_to(run.name, target_is_directory=True)
        except OSError:
            temporary.write_text(run.name, encoding="utf-8")


def find_run(path: Path) -> Path:
    """Check that a path is a run's folder, and resolve ``runs/latest``.

    Raises:
        InputError: It is not.
    """
    if path.is_file() and path.name == LATEST:
        path = path.parent / path.read_text(encoding="utf-8").strip()
    if not (path / CONFIG).is_file():
        raise InputError(f"{path}: not a run", "train one: segkit train")
    return path.resolve() if path.name == LATEST else path


def dataset_of_run(checkpoint: Path) -> Path | None:
    """The dataset that the run of a checkpoint was trained on: a folder or a COCO file, which may be gone.

    None where the checkpoint is in no run's folder.
    """
    config = checkpoint.parent / CONFIG
    return Path(str(read_toml(config).get("dataset", "dataset"))) if config.is_file() else None


def write_origin(run: Path, device: str, world_size: int) -> None:
    """Write ``origin.json``: versions of the packages, commit, device, number of ranks."""
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
    """The commit of the working folder (the user's project, not segkit), if it is a git checkout."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
