"""The file of a model, and where its scores go; found without PyTorch."""

from pathlib import Path

from segkit.errors import InputError
from segkit.runs.folder import CONFIG, LATEST, find_run

LAST, PREVIOUS, BEST = "last.pt", "last.previous.pt", "best.pt"
"""The checkpoints of a run."""


def find_checkpoint(model: Path | None) -> Path:
    """The checkpoint that MODEL means: a file, or a run's best one (else its last); by default of the latest run.

    Raises:
        InputError: There is none.
    """
    path = model if model is not None else Path("runs") / LATEST
    if path.name == LATEST and path.is_file():
        path = find_run(path)
    if path.is_dir():
        if (own := _checkpoint_in(path)) is not None:
            return own
        if (path / CONFIG).is_file():
            raise InputError(
                f"{path}: holds no checkpoint",
                "was it interrupted before the first one? see segkit train --resume",
            )
        raise InputError(f"{path}: a folder that is no run", "name a run, such as runs/latest, or the file of a model")
    if not path.exists():
        hint = "train one: segkit train" if model is None else None
        raise InputError(f"{path}: no such {'run' if model is None else 'model'}", hint)
    if not path.is_file():  # a named pipe would be waited for
        raise InputError(f"{path}: not a regular file", "save its content into a file, and name that")
    return path


def _checkpoint_in(run: Path) -> Path | None:
    """The checkpoint that a run means: its best one, else its last."""
    return next((run / name for name in (BEST, LAST, PREVIOUS) if (run / name).is_file()), None)


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run that has a checkpoint."""
    return (path / CONFIG).is_file() and _checkpoint_in(path) is not None


def folder_of_scores(model: Path) -> Path:
    """Where the scores of a model on its own validation split go.

    The checkpoint that a run means has the run's folder. Any other file has a folder beside it that is named after it,
    so that the scores of ``last.pt`` or ``model.onnx`` do not replace those of the run.
    """
    own = _checkpoint_in(model.parent)
    if own is not None and own.resolve() == model.resolve():
        return model.parent
    return model.parent / f"eval-{model.stem if model.suffix == '.pt' else model.name}"
