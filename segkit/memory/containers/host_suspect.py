"""A container or value of the host that grows with every step: what it is, what holds it, and why it may end."""

import io
import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from segkit.memory.containers.entry_sizes import deep_bytes, heaviest_part, newest_entries
from segkit.memory.findings.bounds import RunFacts, bound_of
from segkit.memory.findings.source_lines import stores_in_source
from segkit.memory.findings.suspect import Suspect, emptied_at
from segkit.memory.holders.edges import edge, readable
from segkit.memory.holders.kinds import kind_by_chain
from segkit.memory.holders.reference_chains import ReferenceChain
from segkit.memory.measure.user_code import UNKNOWN, USER_CODE, Line

LEAK_BYTES, LOG_BYTES = 4096, 256  # a step: from which on host memory leaks; from which on it is reported
SPAN_WATCH, SPAN_LEAK = 8, 15  # steps over which a container was seen to grow


@dataclass(frozen=True, slots=True)
class HostSuspect:
    """What grows with every step, and by how much.

    Attributes:
        suspect: What it is, and where.
        per_step: Bytes a step.
        span: Steps over which it was seen to grow.
        entries: Entries that it has.
        since: The step from which on it was called a leak.
    """

    suspect: Suspect
    per_step: float = 0.0
    span: int = 0
    entries: int = 0
    since: int | None = None

    @property
    def state(self) -> str:
        """``leak``, ``watch``, or ``log`` for what is too little to matter."""
        if self.per_step < LEAK_BYTES and self.suspect.kind != "hooks registered again":
            return "log"
        return "leak" if self.span >= SPAN_LEAK else "watch" if self.span >= SPAN_WATCH else "log"


def suspect_of_container(container: Any, chain: ReferenceChain, facts: RunFacts, in_worker: bool) -> Suspect:
    """Describe a container that was seen to grow.

    Args:
        container: The container.
        chain: The chain of references to it.
        facts: What is known of the run.
        in_worker: Whether this process is a loader worker.
    """
    expression = chain.expression
    newest = newest_entries(container, 1)[0]
    parts = heaviest_part(newest)
    held_by = expression
    for holder, child in pairwise([container, *parts]):
        held_by = edge(holder, child).format(held_by)
    facts = facts._replace(lengths={})  # it was just seen to grow
    stored = stores_in_source(expression, USER_CODE.files())
    stored_at = stored[-1] if stored else None
    return Suspect(
        f"{chain.scope} {expression}", _kind(chain, container, newest, in_worker), sites=(),
        allocated_at=stored_at or UNKNOWN, operation=type(parts[-1]).__name__, held_by=readable(held_by),
        holder=expression, scope=chain.scope, verified=chain.verified, stored_at=stored_at,
        emptied_at=emptied_at(chain, len(chain.objects) - 1, USER_CODE.files()),
        bound=bound_of(chain.root, (*chain.objects, newest), len(chain.objects) - 1, expression, facts),
    )  # fmt: skip


def suspect_of_value(value: Any, chain: ReferenceChain, lines: list[Line]) -> Suspect:
    """Describe a value that is replaced by a longer one again and again.

    Args:
        value: The newest of them.
        chain: The chain of references to it.
        lines: Lines of the source that make it longer.
    """
    kinds: dict[type, str] = dict.fromkeys((str, bytes, bytearray, io.StringIO), "growing text")
    kinds |= {io.BytesIO: "growing buffer", torch.Tensor: "growing tensor"}
    made_at = lines[-1] if lines else None
    return Suspect(
        f"{chain.scope} {chain.expression}", kinds.get(type(value), "growing array"), sites=(),
        allocated_at=made_at or UNKNOWN, operation=type(value).__name__, held_by=chain.expression,
        holder=chain.expression, scope=chain.scope, verified=chain.verified, stored_at=made_at,
    )  # fmt: skip


def heaviest_of_entry(container: Any, index: int) -> Any:
    """What makes up most of one of the newest entries; 0 is the newest."""
    newest = newest_entries(container, index + 1)
    if isinstance(container, dict):
        newest.reverse()
    return heaviest_part(newest[min(index, len(newest) - 1)])[-1]


def _kind(chain: ReferenceChain, container: Any, newest: Any, in_worker: bool) -> str:
    from_matplotlib = any(type(each).__module__.startswith("matplotlib") for each in (newest, *chain.objects))
    if from_matplotlib or "Gcf" in chain.expression:
        return "matplotlib figures"
    by_chain = kind_by_chain(chain, container)
    if by_chain is not None and by_chain not in ("dict without bound", "class attribute"):
        return by_chain
    if in_worker or any(_is_dataset(each) for each in chain.objects):
        return "dataset cache"
    if by_chain is not None:
        return by_chain
    library = _library_of(newest)
    return {"numpy": "kept numpy arrays", "torch": "kept tensors"}.get(library, "kept objects")


def _is_dataset(value: Any) -> bool:
    loaded = sys.modules.get("torch.utils.data")
    return loaded is not None and isinstance(value, loaded.Dataset)


def _library_of(value: Any) -> str:
    """The library whose objects make up most of an entry."""
    weights: dict[str, int] = defaultdict(int)
    stack, seen = [value], set[int]()
    while stack and len(seen) < 500:
        each = stack.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        is_container = isinstance(each, dict | list | tuple | set)
        weights[type(each).__module__.partition(".")[0]] += 0 if is_container else deep_bytes(each, set())
        if is_container:
            stack += each.values() if isinstance(each, dict) else each
    return max(weights, key=lambda name: weights[name], default="")
