"""The two records of a memory report: a leak, and growth that is no leak."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, Self

Where = Literal["device", "host", "worker"]


class MemoryLimit(NamedTuple):
    """The bytes that there are (None: not known), and the most that were in use."""

    limit: int | None
    used: int

    def steps_left(self, bytes_per_step: float) -> int | None:
        """Steps until the free memory is used up; None where no limit is known."""
        if self.limit is None or bytes_per_step <= 0:
            return None
        return max(0, int((self.limit - self.used) / bytes_per_step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Memory that is kept from every step and never freed: an entry of ``leaks`` in ``memory.json``.

    Attributes:
        kind: The cause, a key of ``fixes.FIXES``.
        where: The memory that it takes: of the device, of the host process, of the loader workers.
        bytes_per_step: What every step adds.
        allocated_at: ``file:line`` that made what is kept.
        held_by: Python for one of the kept objects, valid in ``scope``.
        stored_at: ``file:line`` that stores it.
        fix: What to do about it, in a sentence.
        steps_to_oom: Steps until memory runs out, at this rate; None where no limit is known.
        operation: The torch operation that made it, or the type of the object.
        holder: Python for the container that grows.
        scope: Where ``held_by`` and ``holder`` are valid: a module, or a function that was running.
        verified: Whether ``held_by`` was evaluated and gave the very object.
        stored_surely: Whether ``stored_at`` was seen storing; if not, it was found in the source code.
        graph_nodes: Nodes of the autograd graph that every kept tensor keeps.
        steps_seen: Steps from which something is kept (batches, in a worker).
        is_leak: Whether enough steps were seen to be sure.
        leak_since: The step from which on it was called a leak; None where it is not, or where that is not known.
        also_at: More lines that made what is kept here.
        also_held_by: More names under which the same line stores.
        workers: Loader workers in which it was found.
        rank: The rank that found it, if that is not the one that the report is of.
        note: Why it is not called a leak, though every step keeps something.
        sources: The text of the lines that are named, by ``file:line``.
    """

    kind: str
    where: Where
    bytes_per_step: float
    allocated_at: str | None = None
    held_by: str | None = None
    stored_at: str | None = None
    fix: str
    steps_to_oom: int | None = None
    operation: str
    holder: str | None = None
    scope: str | None = None
    verified: bool = False
    stored_surely: bool = False
    graph_nodes: int | None = None
    steps_seen: int
    is_leak: bool
    leak_since: int | None = None
    also_at: tuple[str, ...] = ()
    also_held_by: tuple[str, ...] = ()
    workers: int | None = None
    rank: str | None = None
    note: str | None = None
    sources: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The entry of ``memory.json``; what only some leaks have is left out of the others."""
        document = asdict(self)
        document["also_at"], document["also_held_by"] = list(self.also_at), list(self.also_held_by)
        return {key: value for key, value in document.items() if value or key not in _OPTIONAL}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read an entry of ``memory.json``, of this or an earlier version."""
        known = {each.name for each in fields(cls)}
        values: dict[str, Any] = {key: value for key, value in document.items() if key in known}
        for name in ("also_at", "also_held_by"):
            values[name] = tuple(document.get(name, ()))
        return cls(**values)


_OPTIONAL = ("also_held_by", "workers", "rank", "note", "sources")


@dataclass(frozen=True, slots=True)
class Growth:
    """Growth that is no leak: an entry of ``growth`` in ``memory.json``.

    Attributes:
        name: What this kind of growth is called.
        what: What grew, in a sentence.
        bytes: How much; None where that was not measured.
        bound: Where it ends, and why.
        where: The memory that it takes.
    """

    name: str
    what: str
    bytes: int | None
    bound: str | None
    where: Where = "host"

    def to_json(self) -> dict[str, Any]:
        """The entry of ``memory.json``."""
        return asdict(self)
