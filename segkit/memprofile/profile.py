"""``memprofile``: measure a training step by step and phase by phase, segkit's own or that of any script."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.memprofile import MemprofileConfig
from segkit.data.files import temporary_file
from segkit.errors import FINDINGS, INCONCLUSIVE, NO_FIT, InputError
from segkit.memory.process.launch import SNAPSHOT, Status, run_script
from segkit.memory.report.page import render_page
from segkit.memory.report.read_recording import explain
from segkit.memprofile.next_steps import next_steps
from segkit.progress import SILENT, Progress
from segkit.units import today
from segkit.version import __version__


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """A report, the files that hold it, and the exit code.

    Attributes:
        document: As ``memory.json`` holds it.
        json_path: The file; None where nothing was written.
        page_path: The same as a page.
        code: The exit code: a failed script's own, else by the verdict.
    """

    document: dict[str, Any]
    json_path: Path | None
    page_path: Path | None
    code: int

    @property
    def verdict(self) -> str | None:
        """``clean``, ``watch``, ``leak``, ``inconclusive`` or ``snapshot``; None: the script failed before a step."""
        verdict: str | None = self.document.get("verdict")
        return verdict

    def to_json(self) -> dict[str, Any]:
        """What ``memprofile --json`` prints."""
        return self.document


def memprofile(
    config: MemprofileConfig,
    progress: Progress = SILENT,
    on_status: Callable[[Status], None] = lambda status: None,
    script_stdout: int | None = None,
) -> ProfileSummary:
    """Measure a training and write the report.

    Args:
        config: What to measure.
        progress: Receives the state of segkit's own training.
        on_status: Called with the newest step of a script.
        script_stdout: The file descriptor for a script's standard output; None: that of this process.

    Raises:
        SegkitError: There is no such run or script, or its config cannot be run here.
    """
    if config.explain is not None:
        return _written(config, explain(config.explain), 0)
    if config.script is not None:
        return _of_script(config, config.script, on_status, script_stdout)
    from segkit.memprofile.own_training import profile_training  # noqa: PLC0415 -- a script brings its own torch

    return _written(config, profile_training(config, progress), 0)


def _of_script(
    config: MemprofileConfig, script: list[str], on_status: Callable[[Status], None], stdout: int | None
) -> ProfileSummary:
    ran = run_script(
        script, every=config.step_every, steps=config.steps, deep=config.deep, limit=config.limit,
        snapshot=config.out / SNAPSHOT, stdout=stdout, on_status=on_status,
    )  # fmt: skip
    if ran.document is None:
        if ran.code:
            return ProfileSummary({}, None, None, ran.code)
        because = f": {ran.failures[0]}" if ran.failures else ""
        raise InputError(
            f"{' '.join(script)}: no training was seen in it{because}",
            "it has to import torch, in a Python that can import segkit's dependencies",
        )
    document = ran.document
    document["problems"] = [*document["problems"], *ran.failures]
    document["command"] = script
    document["exit_code"] = document["script_exit"] = ran.code
    return _written(config, document, ran.code)


def _written(config: MemprofileConfig, document: dict[str, Any], code: int) -> ProfileSummary:
    """Write both files; the exit code is that of a failed script, else by the verdict."""
    config.out.mkdir(parents=True, exist_ok=True)
    document["about"] = {"segkit": __version__, "date": today()}
    document["next"] = [step._asdict() for step in next_steps(config, document)]
    json_path, page_path = config.out / "memory.json", config.out / "memory.html"
    for path, text in ((json_path, json.dumps(document, indent=1) + "\n"), (page_path, render_page(document))):
        with temporary_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return ProfileSummary(document, json_path, page_path, code or _code(document, config.limit))


def _code(document: dict[str, Any], limit: int | None) -> int:
    if document["verdict"] == "leak":
        return FINDINGS
    if limit is not None and document["peak"]["allocated"] > limit:
        return NO_FIT
    return INCONCLUSIVE if document["verdict"] in ("inconclusive", "watch") else 0
