"""Event files for TensorBoard, written by ``torch.utils.tensorboard``.

That writer is kept together with PyTorch. It needs the package ``tensorboard`` (an extra of segkit), which is needed to
look at the files anyway; ``tensorboardX``, the other writer, would be one package more.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segkit.data.files import check_links
from segkit.errors import ConfigError

_FLUSH_SECONDS = 10


def require_tensorboard() -> None:
    """Check that event files can be written.

    Raises:
        ConfigError: The package ``tensorboard`` is missing.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "--tensorboard: the package tensorboard is not installed", 'pip install "segkit[tensorboard]"'
        )


class EventFile:
    """The numbers of ``metrics.jsonl`` as scalars by step."""

    def __init__(self, folder: Path, last_step: int) -> None:
        """Open a new file; TensorBoard reads all files of a folder as one.

        Args:
            folder: Of the event files.
            last_step: The step that training goes on from: TensorBoard drops later steps of earlier files.

        Raises:
            InputError: The folder is a link that leads out of the run.
        """
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 -- an extra

        check_links(folder / "events", folder.parent)
        self._writer = SummaryWriter(str(folder), purge_step=last_step + 1, flush_secs=_FLUSH_SECONDS)

    def write(self, line: dict[str, Any]) -> None:
        """Write the numbers in a line of ``metrics.jsonl``, those in dictionaries as ``name/inner``."""
        prefix = {"step": "train/", "eval": "val/"}[line["kind"]]
        for name, value in _numbers(line, prefix):
            self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.close()


def _numbers(line: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            found.append((prefix + name, float(value)))
    return found
