"""From what a session has found to what is reported: leaks, and growth that ends or is too little to matter."""

from collections.abc import Mapping

from segkit.memory.containers.host_suspect import HostSuspect
from segkit.memory.containers.native import native_leak
from segkit.memory.findings.records import Growth, Leak, MemoryLimit, Where
from segkit.memory.findings.suspect import absolute, leak_of
from segkit.memory.holders.roots import is_librarys
from segkit.memory.report.growth import bounded_growth, is_kept, may_be_emptied, small_growth
from segkit.memory.report.tensor_leaks import tensor_leaks
from segkit.memory.session import Session


def leaks_of(session: Session, limits: Mapping[Where, MemoryLimit]) -> tuple[list[Leak], list[Growth]]:
    """What leaks, the worst first; and what grows with a bound, or by too little to matter.

    Args:
        session: What was watched.
        limits: The memory of ``host`` and ``device``.
    """
    leaks, growth = tensor_leaks(session, limits)
    stored = {leak.stored_at for leak in leaks} - {None}
    for found in session.host.suspects.values():
        suspect = found.suspect
        if suspect.stored_at is not None and absolute(suspect.stored_at) in stored:
            continue  # the same container under another name
        per_entry = found.per_step * found.span / max(1, found.entries)
        if suspect.bound is not None and is_kept(suspect.bound, found.entries, per_entry, limits["host"]):
            growth.append(bounded_growth(suspect, suspect.bound, found.per_step, found.entries))
        elif found.state != "log":
            note = may_be_emptied(suspect, max(0, session.tensors.steps - found.span), session)
            leaks.append(host_leak(found, limits["host"], note=note))
        elif not is_librarys(suspect.scope):  # small logs of a library are not the user's
            growth.append(small_growth(str(suspect.holder), found.per_step, found.span))
    explained = sum(leak.bytes_per_step for leak in leaks if leak.where == "host")
    native = native_leak(session.series, explained)
    if native is not None:
        leaks.append(host_leak(native, limits["host"]))
    leaks.sort(key=lambda leak: (not leak.is_leak, -leak.bytes_per_step))
    return leaks, growth


def host_leak(found: HostSuspect, limit: MemoryLimit, where: Where = "host", note: str | None = None) -> Leak:
    """The record of a container or value of the host that grows.

    Args:
        found: What grows.
        limit: The host's memory.
        where: Whether it is in the script's process or in a worker.
        note: Why it is not called a leak yet.
    """
    return leak_of(found.suspect, where, limit, per_step=found.per_step, steps_seen=found.span,
                   is_leak=found.state == "leak" and note is None, since=found.since, note=note)  # fmt: skip
