"""``segkit label``: starts LabelMe as a program; segkit never imports it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.label import LabelConfig
from segkit.errors import InputError

_DEFAULT_LABELS = (Path("dataset/labels.txt"), Path("runs/latest/labels.txt"))


@configured_by(LabelConfig)
def label(config: LabelConfig, output: Output) -> int:
    """Open LabelMe on a folder, for example to correct predictions.

    [bold]Example:[/bold]  segkit label predictions/labelme
    """
    if not config.folder.is_dir():
        raise InputError(f"{config.folder}: no such folder")
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & os.environ.keys():
        raise InputError("there is no display to open LabelMe on", "run it on a machine with a display, or use ssh -X")
    labels = config.labels or next((path for path in _DEFAULT_LABELS if path.is_file()), None)
    offered = ["--labels", str(labels)] if labels is not None else []
    return subprocess.run([labelme_program(), str(config.folder), *offered], check=False).returncode


def labelme_program() -> str:
    """The path of the LabelMe program: next to this Python, or on PATH.

    Raises:
        InputError: It is not installed.
    """
    beside = shutil.which("labelme", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("labelme")
    if program is None:
        raise InputError("LabelMe is not installed", "install it: pip install labelme")
    return program
