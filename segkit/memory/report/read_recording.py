"""Read a recording: a ``memory.json``, or a snapshot of CUDA's allocator that PyTorch has written."""

import io
import json
import linecache
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

from segkit.errors import InputError
from segkit.memory.findings.records import Growth
from segkit.memory.holders.survival import LEAK
from segkit.memory.measure.user_code import USER_CODE

_UNKNOWN = "not recorded"


def explain(path: Path) -> dict[str, Any]:
    """The document of a recording.

    A snapshot shows one moment. It has no steps, and cannot say whether something leaks; it has the lines that have
    allocated what is alive, and how much of the reserved memory is free.

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
    blocks: list[tuple[str, int]] = []
    traced = _frames_of_traces(snapshot)
    reserved = allocated = requested = split = 0
    for segment in snapshot["segments"]:
        reserved += segment["total_size"]
        address = segment.get("address", 0)
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                allocated += block["size"]
                requested += block.get("requested_size", block["size"])
                frames = _frames_of(block) or traced.get(block.get("address", address), [])
                blocks.append((_line(frames), block["size"]))
            elif block["state"] == "inactive" and block["size"] < segment["total_size"]:
                split += block["size"]
            address += block["size"]
    growth = []
    if split > 0.15 * max(1, reserved):
        what = "free parts of segments in use, too small for the requests"
        growth.append(Growth("fragmentation", what, split, None, "device").to_json())
    alive = _alive(blocks)
    series = {key: list[int]() for key in ("allocated", "peak", "reserved", "rss", "malloc", "seconds")}
    return {
        "verdict": "snapshot",
        "steps": 0,
        "leaks": [],
        "growth": growth,
        "phases": {},
        "categories": {
            "requested": requested, "rounding": allocated - requested, "fragmented": split,
            "cache": reserved - allocated - split, "remainder": 0,
        },
        "peak": {"allocated": allocated, "phase": None, "step": None, "rss": None, "reserved": reserved},
        "top": {"modules": {}, "lines": {each["line"]: each["bytes"] for each in alive}, "steps": [], "alive": alive},
        "counted": "bytes of PyTorch's CUDA allocator at one moment",
        "device": "of the snapshot",
        "limit": None,
        "model": str(path),
        "problems": [],
        "series": {"stride": 1, **series},
    }  # fmt: skip


def _alive(blocks: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """The lines that have allocated what is alive, the largest first.

    ``repeated``: the line has made many blocks of one size, as it does where it runs once a step.
    """
    sizes: dict[str, Counter[int]] = {}
    for line, size in blocks:
        sizes.setdefault(line, Counter())[size] += 1
    found: list[dict[str, Any]] = [
        {"line": line, "bytes": sum(size * count for size, count in counts.items()), "blocks": counts.total(),
         "repeated": line != _UNKNOWN and max(counts.values()) >= LEAK, "source": _source(line)}
        for line, counts in sizes.items()
    ]  # fmt: skip
    found.sort(key=lambda each: -each["bytes"])
    return found[:20]


def _source(line: str) -> str:
    file, _, number = line.rpartition(":")
    return linecache.getline(file, int(number)).strip()[:120] if number.isdigit() else ""


def _frames_of_traces(snapshot: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """The frames of the last allocation at every address, from the history of the allocator."""
    out: dict[int, list[dict[str, Any]]] = {}
    for trace in snapshot.get("device_traces") or ():
        for event in trace:
            if event.get("action") == "alloc":
                out[event["addr"]] = event.get("frames") or []
    return out


def _frames_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    return block.get("frames") or next((each.get("frames") for each in block.get("history", ())), None) or []


def _line(frames: list[dict[str, Any]]) -> str:
    for frame in frames:
        file = frame.get("filename", "")
        if file.endswith(".py") and "/torch/" not in file and USER_CODE.owns(file):
            return f"{file}:{frame['line']}"
    return f"{frames[0]['filename']}:{frames[0]['line']}" if frames else _UNKNOWN
