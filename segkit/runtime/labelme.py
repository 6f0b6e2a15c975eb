"""LabelMe, which is started as a program and never imported."""

import shutil
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
