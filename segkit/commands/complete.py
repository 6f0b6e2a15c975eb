"""What the shell offers for a value: runs and models, datasets, splits, categories, words.

Nothing here loads PyTorch or reads more than names: it runs at each press of the tab key. Where it has nothing to
offer, the shell completes files.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from segkit.config.fields import Completion

MODEL_FILES = (".pt", ".onnx", ".torchscript", ".pt2", ".safetensors", ".xml", ".tflite", ".engine")
_CHECKPOINTS = ("best.pt", "last.pt", "last.previous.pt")
_SPLITS = ("train", "val", "test")
_MOST = 200  # runs and files that are looked at


def completer(kind: Completion) -> Callable[[typer.Context, str], list[str]]:
    """The function that Typer asks for the words that begin as what was typed.

    Args:
        kind: As an option declares it: what its value is, or its words.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        done, comma, typed = incomplete.rpartition(",")
        if kind == "model":
            found: Iterable[str] = _models()
        elif kind == "run":
            found = _runs()
        elif kind == "dataset":
            found = _datasets()
        elif kind == "split":
            found = _splits(ctx)
        elif kind == "category":
            found = _categories(ctx)
        else:
            found = kind
        return [done + comma + word for word in found if word.startswith(typed)]

    return complete


def _runs() -> list[str]:
    """The runs below ``runs/`` that have a checkpoint, the latest first."""
    names = sorted(_entries(Path("runs")), key=lambda path: (path.name != "latest", path.name))
    return [str(path) for path in names if any((path / name).is_file() for name in _CHECKPOINTS)]


def _models() -> list[str]:
    """Runs, and files of models here and in the runs."""
    runs = _runs()
    folders = [Path(), *(Path(run) for run in runs if not Path(run).is_symlink())]
    files = [str(path) for folder in folders for path in sorted(_entries(folder)) if path.suffix in MODEL_FILES]
    return [*runs, *files]


def _datasets() -> list[str]:
    """The folders here that have an annotation file of a split."""
    return [
        str(path) for path in sorted(_entries(Path())) if any((path / f"{split}.json").is_file() for split in _SPLITS)
    ]


def _splits(ctx: typer.Context) -> list[str]:
    """The splits that the dataset of the command has."""
    data = Path(ctx.params.get("data") or ctx.params.get("src") or "dataset")
    own = [split for split in _SPLITS if (data / f"{split}.json").is_file()]
    return own or list(_SPLITS)


def _categories(ctx: typer.Context) -> list[str]:
    """The categories of the model, else of the dataset."""
    model = Path(ctx.params.get("model") or "runs/latest")
    for path in (model / "labels.txt", model.parent / "labels.txt", Path("dataset/labels.txt")):
        if path.is_file():
            return path.read_text("utf-8", "replace").splitlines()
    return _of_file(Path("dataset/train.json"))


def _of_file(path: Path) -> list[str]:
    """The categories of a small COCO file."""
    try:
        if path.stat().st_size > 1 << 20:
            return []
        return [str(each["name"]) for each in json.loads(path.read_bytes())["categories"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _entries(folder: Path) -> list[Path]:
    """Some entries of a folder; none where it cannot be read."""
    try:
        return [path for path, _ in zip(folder.iterdir(), range(_MOST), strict=False) if not path.name.startswith(".")]
    except OSError:
        return []
