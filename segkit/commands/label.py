"""``segkit label``: starts LabelMe as a program; segkit never imports it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.label import LabelConfig
from segkit.errors import DONE, InputError
from segkit.runtime.labelme import labelme_program

if TYPE_CHECKING:
    from segkit.review.next_folder import Merged

_DEFAULT_LABELS = (Path("dataset/labels.txt"), Path("runs/latest/labels.txt"))


@configured_by(LabelConfig)
def label(config: LabelConfig, output: Output) -> int:
    """Open LabelMe on a folder; with --next on the pictures that would teach the model most.

    [bold]Example:[/bold]  segkit label pictures --next 20 --model runs/latest
    """
    if not config.folder.is_dir():
        raise InputError(f"{config.folder}: no such folder")
    if config.merge:
        from segkit.commands.render.label import render_merged

        render_merged(_merged(config), output)
        return DONE
    if config.next is not None:
        return _next(config, output)
    _check_display()
    return _open(config.folder, config)


def _next(config: LabelConfig, output: Output) -> int:
    """Choose pictures, and open LabelMe on them unless they are only printed."""
    from segkit.commands.render.label import render_merged, render_next
    from segkit.review.next_folder import write_next

    only_prints = config.list_only or config.dry_run or output.as_json
    if not only_prints:
        _check_display()
        labelme_program()
        render_merged(_merged(config), output)  # what is left of an earlier time
    output.before_pytorch()
    from segkit.review.label import plan_next

    plan = plan_next(config, output.progress())
    render_next(plan, output.answering() if only_prints else output, files=config.dry_run)
    if only_prints:
        return DONE
    write_next(plan.folder, plan.pictures, plan.categories)
    code = _open(plan.folder, config)
    render_merged(_merged(config), output)
    return code


def _merged(config: LabelConfig) -> "Merged":
    from segkit.review.next_folder import merge_saved

    return merge_saved(config.next_folder, config.folder)


def _check_display() -> None:
    """Check that there is something to open a window on.

    Raises:
        InputError: There is not.
    """
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"} & os.environ.keys():
        raise InputError("there is no display to open LabelMe on", "run it on a machine with a display, or use ssh -X")


def _open(folder: Path, config: LabelConfig) -> int:
    labels = config.labels or next((path for path in _DEFAULT_LABELS if path.is_file()), None)
    offered = ["--labels", str(labels)] if labels is not None else []
    return subprocess.run([labelme_program(), str(folder), *offered], check=False).returncode
