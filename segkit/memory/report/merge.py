"""One report from the files that the processes of a script have written: ranks and loader workers."""

import contextlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.memory.findings.fixes import fix_for
from segkit.memory.findings.records import Growth, Leak, MemoryLimit
from segkit.memory.measure.trend import worker_rise
from segkit.units import format_bytes

_ORDER = {"leak": 3, "watch": 2, "clean": 1, "inconclusive": 0}
_COPIED = 8 * 2**20  # bytes of shared memory that became private; less is not reported


def merge(folder: Path) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The report of a run, and what went wrong in watching it.

    The report is that of the rank with the worst verdict; leaks that only others found are added with their rank.
    """
    recordings = read_all(folder, "recording-*.json")
    failures = tuple(path.read_text(encoding="utf-8").strip() for path in sorted(folder.glob("failure-*.txt")))
    recordings = [document for document in recordings if document["steps"] > 0] or recordings[:1]
    if not recordings:
        return None, failures
    recordings.sort(key=lambda document: (-_ORDER[document["verdict"]], -document["steps"]))
    document = recordings[0]
    document["processes"] = len(recordings)
    known = {(leak["allocated_at"], leak["holder"]) for leak in document["leaks"]}
    for other in recordings[1:]:
        for leak in other["leaks"]:
            if (leak["allocated_at"], leak["holder"]) not in known:
                document["leaks"].append(leak | {"rank": other.get("rank")})
    leaks, growth = _workers(folder, document)
    document["leaks"] += [leak.to_json() for leak in leaks]
    document["growth"] += [each.to_json() for each in growth]
    if any(leak.is_leak for leak in leaks):
        document["verdict"] = "leak"
    elif leaks and document["verdict"] in ("clean", "inconclusive"):
        document["verdict"] = "watch"
    return document, failures


def _workers(folder: Path, document: dict[str, Any]) -> tuple[list[Leak], list[Growth]]:
    """What loader workers found in themselves: the same leak in several workers is one."""
    workers = read_all(folder, "worker-*.json")
    by_holder: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for worker in workers:
        for found in worker["leaks"]:
            by_holder[str(found["leak"]["holder"])].append(found | {"batches": worker["batches"]})
    leaks: list[Leak] = []
    growth: list[Growth] = []
    batches = sum(worker["batches"] for worker in workers) / max(1, document["steps"])
    for found in by_holder.values():
        worst = max(found, key=lambda each: (each["state"] == "leak", each["leak"]["bytes_per_step"]))
        leak = Leak.from_json(worst["leak"])  # its steps are batches of one worker
        if worst["bound"] is not None:
            growth.append(_bounded(leak, worst, len(found)))
        elif worst["state"] != "log":
            per_step = leak.bytes_per_step * (min(batches, len(workers)) if batches > 0 else 1)
            left = _host_limit(document).steps_left(per_step)
            leaks.append(replace(leak, bytes_per_step=per_step, workers=len(found), steps_to_oom=left))
    if not leaks:
        leaks += _unexplained(workers, batches, _host_limit(document))
    growth += _copied(workers, bool(leaks))
    return leaks, growth


def _host_limit(document: dict[str, Any]) -> MemoryLimit:
    return MemoryLimit(document.get("limit"), document["peak"]["rss"])


def _bounded(leak: Leak, found: dict[str, Any], workers: int) -> Growth:
    """A container that grows up to a bound, in several workers."""
    per_entry = leak.bytes_per_step * found["batches"] / max(1, found["entries"])
    most, reason = found["bound"]
    reach = f", about {format_bytes(most * per_entry * workers)} in {workers} workers" if most else ""
    what = f"every worker fills its own {leak.holder}"
    size = int(leak.bytes_per_step * leak.steps_seen * workers)
    return Growth("dataset cache", what, size, reason + reach, "worker")


def _unexplained(workers: list[dict[str, Any]], batches: float, limit: MemoryLimit) -> list[Leak]:
    """Growth of workers that no Python object in them explains, such as a decoder that keeps what it has read.

    Args:
        workers: The content of each worker's file.
        batches: That all of them load for a step.
        limit: Of the host's memory.
    """
    rates = [rate for worker in workers if (rate := worker_rise(worker["mapped"])) is not None]
    if not rates or 2 * len(rates) < len(workers):
        return []
    per_step = sum(rates) / len(rates) * batches
    steps_seen = min(worker["batches"] for worker in workers)
    return [
        Leak(
            kind="native memory", where="worker", bytes_per_step=per_step, fix=fix_for("native memory", None),
            steps_to_oom=limit.steps_left(per_step), operation="malloc", steps_seen=steps_seen, is_leak=True,
            workers=len(rates),
        )
    ]  # fmt: skip


def _copied(workers: list[dict[str, Any]], leaking: bool) -> list[Growth]:
    """Copy-on-write: memory that workers share with the main process becomes private, page by page, as they use it."""
    own = shared = resident = 0
    for worker in workers:
        if len(worker["mapped"]) >= 2:
            first, last = worker["mapped"][0], worker["mapped"][-1]
            own += last[3] - first[3]
            shared += first[4] - last[4]
            resident += last[1] - first[1]
    if own < _COPIED or shared < 0.5 * own or (leaking and resident > 0.5 * own):
        return []
    what = "workers copy memory of Python objects that they share with the main process: use changes reference counts"
    bound = "the size of the objects, once for each worker; NumPy arrays and tensors are not copied"
    return [Growth("copy-on-write", what, own, bound, "worker")]


def read_all(folder: Path, names: str) -> list[dict[str, Any]]:
    """The JSON files whose names match a pattern, in the order of their names; what cannot be read is left out."""
    found = []
    for path in sorted(folder.glob(names)):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return found
