"""LabelMe, which is started as a program and never imported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from segkit.errors import InputError


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


def check_labelme() -> None:
    """Check that LabelMe can be started.

    Raises:
        InputError: It is not installed, or there is nothing to open a window on.
    """
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & os.environ.keys():
        raise InputError("there is no display to open LabelMe on", "run it on a machine with a display, or use ssh -X")
    labelme_program()


def open_labelme(folder: Path, labels: Path | None) -> int:
    """Open LabelMe on a folder, wait until it is closed, and return its exit code.

    Args:
        folder: Of pictures and LabelMe files.
        labels: A file with the labels to offer.

    Raises:
        InputError: It is not installed.
    """
    offered = ["--labels", str(labels)] if labels is not None else []
    return subprocess.run([labelme_program(), str(folder), *offered], check=False).returncode
