"""One report from what the processes of a script have written: ranks, and loader workers."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from segkit.memory.findings.fixes import fix_for
from segkit.memory.measure.trend import worker_rise
from segkit.units import format_bytes

_ORDER = {"leak": 3, "watch": 2, "clean": 1, "inconclusive": 0}
_COPIED = 8 * 2**20  # bytes of a worker's memory that became its own


def merge(folder: Path) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The report of a run, and what went wrong in watching it.

    The rank with the worst verdict speaks; what the others found beside it is added with their rank.
    """
    recordings = [document for path in sorted(folder.glob("recording-*.json")) if (document := _read(path)) is not None]
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
    document["leaks"] += leaks
    document["growth"] += growth
    if any(leak["is_leak"] for leak in leaks):
        document["verdict"] = "leak"
    elif leaks and document["verdict"] in ("clean", "inconclusive"):
        document["verdict"] = "watch"
    return document, failures


def _workers(folder: Path, document: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What loader workers found in themselves: the same leak in several workers is one."""
    workers = [each for path in sorted(folder.glob("worker-*.json")) if (each := _read(path)) is not None]
    by_holder: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for worker in workers:
        for leak in worker["leaks"]:
            by_holder[str(leak["holder"])].append(leak | {"batches": worker["batches"]})
    leaks, growth = [], []
    total_batches = sum(worker["batches"] for worker in workers)
    for holder, found in by_holder.items():
        worst = max(found, key=lambda leak: (leak["state"] == "leak", leak["bytes_per_step"]))
        state, bound, most = worst.pop("state"), worst.pop("bound"), worst.pop("bound_entries")
        entries = worst.pop("entries")
        batches = worst.pop("batches")
        if bound is not None:
            per_entry = worst["bytes_per_step"] * batches / max(1, entries)
            reach = f", about {format_bytes(most * per_entry * len(found))} in {len(found)} workers" if most else ""
            growth.append(
                {"name": "dataset cache", "what": f"every worker fills its own {holder}", "where": "worker",
                 "bytes": int(worst["bytes_per_step"] * worst["steps_seen"] * len(found)), "bound": bound + reach}
            )  # fmt: skip
        elif state != "log":
            batches_a_step = total_batches / max(1, document["steps"])
            worst["bytes_per_step"] *= min(batches_a_step, len(workers)) if batches_a_step > 0 else 1
            worst["workers"] = len(found)
            limit = document.get("limit")
            if limit is not None:
                worst["steps_to_oom"] = max(0, int((limit - document["peak"]["rss"]) / worst["bytes_per_step"]))
            leaks.append(worst)
    if not leaks:
        leaks += _by_themselves(workers, document)
    growth += _copied(workers, bool(leaks))
    return leaks, growth


def _by_themselves(workers: list[dict[str, Any]], document: dict[str, Any]) -> list[dict[str, Any]]:
    """Growth of workers that no Python object in them explains: a decoder that keeps what it has read."""
    rates = [rate for worker in workers if (rate := worker_rise(worker["mapped"])) is not None]
    if not rates or 2 * len(rates) < len(workers):
        return []
    per_batch = sum(rates) / len(rates)
    batches = sum(worker["batches"] for worker in workers) / max(1, document["steps"])
    room = None if document.get("limit") is None else document["limit"] - document["peak"]["rss"]
    per_step = per_batch * batches
    return [
        {"kind": "native memory", "where": "worker", "bytes_per_step": per_step, "allocated_at": None, "held_by": None,
         "stored_at": None, "fix": fix_for("native memory", None),
         "steps_to_oom": None if room is None else max(0, int(room / per_step)), "operation": "malloc", "holder": None,
         "scope": None, "verified": False, "stored_surely": False, "graph_nodes": None,
         "steps_seen": min(worker["batches"] for worker in workers), "is_leak": True, "also_at": [],
         "workers": len(rates)}
    ]  # fmt: skip


def _copied(workers: list[dict[str, Any]], leaking: bool) -> list[dict[str, Any]]:
    """Copy-on-write: memory that workers shared with the trainer becomes their own, page by page, as they read it."""
    own = shared = resident = 0
    for worker in workers:
        if len(worker["mapped"]) >= 2:
            first, last = worker["mapped"][0], worker["mapped"][-1]
            own += last[3] - first[3]
            shared += first[4] - last[4]
            resident += last[1] - first[1]
    if own < _COPIED or shared < 0.5 * own or (leaking and resident > 0.5 * own):
        return []
    what = "workers copy pages of Python objects that they share with the trainer, by counting references to them"
    bound = "the objects' size, once for each worker; arrays and tensors instead of lists of objects are not copied"
    return [{"name": "copy-on-write", "what": what, "bytes": own, "bound": bound, "where": "worker"}]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
