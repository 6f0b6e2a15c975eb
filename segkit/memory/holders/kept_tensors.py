"""The kept tensors: a sample of them, the Python objects that they are, and the graphs that may keep them."""

import contextlib
import gc
import sys
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import compress
from operator import not_
from typing import Any

import torch

from segkit.memory.holders.graph_roots import GraphRoot
from segkit.memory.holders.roots import running_locals
from segkit.memory.holders.survival import GRACE
from segkit.memory.measure.allocation import Allocation, Site
from segkit.memory.measure.heap import objects_of, of_types, references_of
from segkit.memory.measure.torch_private import storage_address
from segkit.memory.measure.tracker import LiveTensors

_ROOTS = 64  # graphs that are walked without a search for what keeps them
_SAMPLES, _SITES = 4, 40  # survivors of each site; sites


def sample_of_survivors(tensors: LiveTensors, sites: Sequence[Site]) -> dict[Site, list[Allocation]]:
    """Some survivors of each site, from the oldest to the newest, one of a step."""
    wanted = set(sites[:_SITES])
    found: dict[Site, dict[int, Allocation]] = defaultdict(dict)
    for step, cohort in list(tensors.cohorts.items()):
        if step > tensors.step - GRACE:
            continue
        for allocation in list(cohort.values()):
            if allocation.old and allocation.site in wanted:
                known = found[allocation.site].get(step)
                if known is None or allocation.size > known.size:
                    found[allocation.site][step] = allocation
    out = {}
    for site, allocations in found.items():
        steps = sorted(allocations)
        chosen = {steps[round(index * (len(steps) - 1) / max(1, _SAMPLES - 1))] for index in range(_SAMPLES)}
        out[site] = [allocations[step] for step in sorted(chosen)]
    return out


def python_tensors() -> dict[int, list[torch.Tensor]]:
    """Every tensor that Python sees, by the address of its storage."""
    out: dict[int, list[torch.Tensor]] = defaultdict(list)
    for each in objects_of(lambda kind: issubclass(kind, torch.Tensor)):
        with contextlib.suppress(Exception):  # a subclass may answer differently
            out[storage_address(each)].append(each)
    out.pop(0, None)  # those without a storage
    return out


def arrays_around(targets: Sequence[Any]) -> dict[int, Any]:
    """For tensors whose memory a NumPy array shares: that array, which the garbage collector does not see."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return {}
    wanted = {id(each) for each in targets}
    out: dict[int, Any] = {}
    holders = objects_of(lambda kind: issubclass(kind, list | tuple | dict | set | deque))
    for parts in references_of(holders):
        for each in of_types(parts, lambda kind: issubclass(kind, numpy.ndarray)):
            base = each
            while issubclass(type(base), numpy.ndarray) and (base := base.base) is not None:  # a dtype's is itself
                if id(base) in wanted:
                    out.setdefault(id(base), each)
    return out


def possible_roots(by_storage: dict[int, list[torch.Tensor]]) -> list[torch.Tensor]:
    """Every tensor with a graph that a Python object keeps, and gradients that have one."""
    roots: dict[int, torch.Tensor] = {}
    for each in [each for tensors in by_storage.values() for each in tensors]:
        held = each.grad if each.is_leaf else each
        if held is not None and held.grad_fn is not None:
            roots[id(held)] = held
    if len(roots) <= _ROOTS:
        return list(roots.values())
    # Most are saved tensors, which C++ keeps: there may be thousands of them, and their graphs are parts of others.
    kept = set(running_locals())
    ours = {id(each) for each in (roots, by_storage, *by_storage.values())}
    holders = gc.get_objects()
    for parts in references_of(list(compress(holders, map(not_, map(ours.__contains__, map(id, holders)))))):
        kept.update(roots.keys() & map(id, parts))
    return [each for key, each in roots.items() if key in kept or each.is_leaf]


def best_roots(found: list[GraphRoot]) -> list[GraphRoot]:
    """For each target, the root that keeps the most targets with the smallest graph."""
    best: dict[int, GraphRoot] = {}
    for each in found:
        for target in each.reached:
            known = best.get(target)
            if known is None or (-len(each.reached), each.nodes) < (-len(known.reached), known.nodes):
                best[target] = each
    # Equally good ones as well, in case the first has no name.
    equal = [each for each in found if any(len(each.reached) == len(best[target].reached) for target in each.reached)]
    out = {id(each.root): each for each in (*best.values(), *equal)}
    return sorted(out.values(), key=lambda each: each.nodes)[:64]
