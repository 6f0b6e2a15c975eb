"""Read a recording: a ``memory.json``, or a snapshot of CUDA's allocator that PyTorch has written."""

import io
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

from segkit.errors import InputError
from segkit.memory.findings.records import Growth
from segkit.memory.measure.user_code import USER_CODE


def explain(path: Path) -> dict[str, Any]:
    """The document of a recording.

    A snapshot shows one moment. It has no steps and no verdict, but the lines that have allocated what is in use, and
    how much of the reserved memory is free.

    Raises:
        InputError: It is neither.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "name a memory.json or a snapshot.pickle") from None
    if content.lstrip()[:1] == b"{":
        return _recording(path, content)
    return _of_snapshot(path, _snapshot(path, content))


def _recording(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    missing = {"verdict", "steps", "leaks", "growth", "phases", "peak", "series", "top"} - document.keys()
    if missing:
        raise InputError(f"{path}: not a memory.json: {', '.join(sorted(missing))} is missing")
    return document


class _Plain(pickle.Unpickler):
    """Reads dicts, lists and numbers; a pickle that refers to code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _snapshot(path: Path, content: bytes) -> dict[str, Any]:
    try:
        snapshot = _Plain(io.BytesIO(content)).load()
    except Exception as error:  # a pickle of anything
        raise InputError(f"{path}: not a PyTorch memory snapshot: {error}") from error
    if isinstance(snapshot, list):
        snapshot = {"segments": snapshot}
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("segments"), list):
        raise InputError(f"{path}: not a PyTorch memory snapshot: it has no segments")
    return snapshot


def _of_snapshot(path: Path, snapshot: dict[str, Any]) -> dict[str, Any]:
    lines: Counter[str] = Counter()
    reserved = allocated = requested = split = 0
    for segment in snapshot["segments"]:
        reserved += segment["total_size"]
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                allocated += block["size"]
                requested += block.get("requested_size", block["size"])
                lines[_line(block)] += block["size"]
            elif block["state"] == "inactive" and block["size"] < segment["total_size"]:
                split += block["size"]
    growth = []
    if split > 0.15 * max(1, reserved):
        what = "free parts of segments in use, too small for the requests"
        growth.append(Growth("fragmentation", what, split, None, "device").to_json())
    series = {key: list[int]() for key in ("allocated", "peak", "reserved", "rss", "malloc", "seconds")}
    return {
        "verdict": "inconclusive",
        "steps": 0,
        "leaks": [],
        "growth": growth,
        "phases": {},
        "categories": {
            "requested": requested, "rounding": allocated - requested, "fragmented": split,
            "cache": reserved - allocated - split, "remainder": 0,
        },
        "peak": {"allocated": allocated, "phase": None, "step": None, "rss": None, "reserved": reserved},
        "top": {"modules": {}, "lines": dict(lines.most_common(20)), "steps": []},
        "counted": "bytes of PyTorch's CUDA allocator at one moment",
        "device": "of the snapshot",
        "limit": None,
        "model": str(path),
        "problems": [],
        "series": {"stride": 1, **series},
    }  # fmt: skip


def _line(block: dict[str, Any]) -> str:
    frames = block.get("frames") or next((each.get("frames") for each in block.get("history", ())), None) or []
    for frame in frames:
        file = frame.get("filename", "")
        if file.endswith(".py") and "/torch/" not in file and USER_CODE.owns(file):
            return f"{file}:{frame['line']}"
    return f"{frames[0]['filename']}:{frames[0]['line']}" if frames else "not recorded"
