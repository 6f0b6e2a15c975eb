"""From suspect sites to culprits: what keeps their tensors, under which name, and why.

One pass over the heap finds the Python tensors behind the storages; one search finds their holders. What no Python
object refers to is looked for in autograd graphs; what is in no graph either is tried with one garbage collection: what
that frees was a cycle, and what it does not is held by C++.
"""

import gc
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from segkit.memory.holders.causes import Culprit, cause_of
from segkit.memory.holders.graph import GraphHolding, find_graphs
from segkit.memory.holders.ledger import WATCH
from segkit.memory.holders.search import Holding, find_holders
from segkit.memory.holders.survivors import best_roots, carriers, graph_roots, key_of, python_tensors, samples_of
from segkit.memory.holders.unnamed import WayOut, way_out
from segkit.memory.measure.tracker import GRAPH, Birth, LiveTensors, Site

_WAYS = 3  # tensors without a name whose surroundings are looked at: each costs a pass over the heap for every step out


def diagnose(
    tensors: LiveTensors,
    suspects: Sequence[Site],
    growing: Sequence[Site] = (),
    ignored: Sequence[object] = (),
    *,
    collect: bool = True,
    double_backward: bool = False,
) -> list[Culprit]:
    """Find out what keeps the tensors of suspect sites.

    Args:
        tensors: All that live.
        suspects: Sites whose tensors stay.
        growing: Those of them whose one tensor is ever longer.
        ignored: Objects of the tool's own that refer to tensors or to what holds them.
        collect: Whether to collect garbage where nothing else explains a site.
        double_backward: Whether a backward pass has kept its own graph (``create_graph=True``).
    """
    with tensors.pause():
        samples = samples_of(tensors, suspects)
        samples.update({site: [tensors.joins[site]] for site in growing if site in tensors.joins})
        by_storage = python_tensors()
        diagnosis = _Diagnosis(tensors, samples, by_storage, ignored)
        try:
            return diagnosis.run(collect, double_backward)
        finally:
            diagnosis.forget()


class _Diagnosis:
    def __init__(
        self,
        tensors: LiveTensors,
        samples: dict[Site, list[Birth]],
        by_storage: dict[int, list[torch.Tensor]],
        ignored: Sequence[object],
    ) -> None:
        self.tensors, self.samples, self.by_storage = tensors, samples, by_storage
        self.ignored = [by_storage, samples, self, vars(self), *by_storage.values()]
        self._more = list(ignored)  # not ours to clear
        self.births = [birth for births in samples.values() for birth in births]
        self.groups = [index for index, births in enumerate(samples.values()) for _ in births]
        self.culprits: dict[str, Culprit] = {}
        self.sites = list(samples)

    def forget(self) -> None:
        """Let go of every tensor, at once: what is at work here must not keep what it looks for."""
        for tensors in self.by_storage.values():
            tensors.clear()
        self.by_storage.clear()
        for each in self.ignored:
            if type(each) is list and each is not self.births:
                each.clear()
        self.ignored = []

    def run(self, collect: bool, double_backward: bool) -> list[Culprit]:
        left = self._held_directly()
        left = self._held_by_graphs(left)
        if left and not collect:
            left = self._held_directly(nameless=True, only=left)
        self._unheld(left, collect, double_backward)
        return list(self.culprits.values())

    def _held_directly(self, nameless: bool = False, only: set[int] | None = None) -> set[int]:
        """Tensors that a Python name reaches; returns the groups that are not explained."""
        asked = set(self.groups) if only is None else only
        targets: list[Any] = []
        of: list[int] = []
        for birth, group in zip(self.births, self.groups, strict=True):
            for tensor in self.by_storage.get(birth.key, ())[:2] if group in asked else ():
                targets.append(tensor)
                of.append(group)
        holdings = (
            find_holders(targets, of, [*self.ignored, *self._more, self._more, targets], nameless=nameless)
            if targets
            else []
        )
        homeless = [each for each, holding in zip(targets, holdings, strict=True) if holding is None]
        arrays = carriers(homeless) if homeless else {}
        if arrays:
            searched = [arrays.get(id(each), each) for each in targets]
            holdings = find_holders(
                searched, of, [*self.ignored, *self._more, self._more, targets, searched, arrays, homeless]
            )
            searched.clear()
        homeless.clear()
        arrays.clear()
        votes: dict[int, list[tuple[Holding, Any]]] = defaultdict(list)
        for target, group, holding in zip(targets, of, holdings, strict=True):
            if holding is not None and not _is_transient(holding):
                votes[group].append((holding, target))
        explained = set()
        for group, held in votes.items():
            births = self.samples[self.sites[group]]
            if len(held) * 2 < len(births):
                continue  # some other way keeps most of them
            holding, target = next((each for each in held if each[0].container is not None), held[0])
            self._blame(group, holding, target, len(births))
            explained.add(group)
        return asked - explained

    def _held_by_graphs(self, left: set[int]) -> set[int]:
        """Saved tensors and nodes that some tensor's graph keeps."""
        if not left:
            return left
        wanted: dict[int, int] = {}
        tokens: dict[int, int] = {}
        for index, (birth, group) in enumerate(zip(self.births, self.groups, strict=True)):
            if group in left:
                if birth.operation == GRAPH:
                    tokens[id(birth())] = index
                else:
                    wanted[birth.key] = index
        roots = graph_roots(self.by_storage)
        found = find_graphs(roots, wanted, tokens)
        self.ignored += [roots, found, wanted, tokens]
        chosen = best_roots(found)
        targets = [each.root for each in chosen]
        flat = [0] * len(targets)
        holdings = (
            find_holders(targets, flat, [*self.ignored, *self._more, self._more, targets, chosen]) if targets else []
        )
        held = [(graph, holding) for graph, holding in zip(chosen, holdings, strict=True) if holding is not None]
        explained: set[int] = set()
        for group in sorted(left):
            mine = [
                (graph, holding) for graph, holding in held
                if any(self.groups[index] == group for index in graph.reached)
            ]  # fmt: skip
            if not mine:
                continue
            graph, holding = next((each for each in mine if each[1].container is not None), mine[0])
            over = next((each for each in mine if self._carries(each[0], group)), None)
            if over is not None:
                graph, holding = over
            self._blame(group, holding, graph.root, len(self.samples[self.sites[group]]), graph, over is not None)
            explained.add(group)
        return left - explained

    def _carries(self, graph: GraphHolding, group: int) -> bool:
        """Whether one graph goes through several steps: then it is the graph that grows, and not what holds it."""
        reached = sum(self.groups[index] == group for index in graph.reached)
        return reached >= 2 and reached * 2 >= self.groups.count(group)

    def _unheld(self, left: set[int], collect: bool, double_backward: bool) -> None:
        """What no Python name reaches: a cycle, if the garbage collector frees it."""
        if not left:
            return
        left_births = [(birth, group) for birth, group in zip(self.births, self.groups, strict=True) if group in left]
        ways: dict[int, WayOut] = {}
        ours = {id(each) for each in (*self.ignored, *self._more, self.ignored, self._more, left_births)}
        for birth, group in left_births:
            if not ways.get(group, WayOut()).kind and len(ways) < _WAYS:
                ways[group] = way_out(birth, self.by_storage, ours)
        for storages in self.by_storage.values():
            storages.clear()
        if collect:
            gc.collect()
            alive = python_tensors()
            self.by_storage.update(alive)
            self.ignored += [alive, *alive.values()]
            still = {group for birth, group in left_births if birth() is not None}
            left = (left - still) | self._held_directly(nameless=True, only=still)
        for group in left:
            births = [birth for birth, its in left_births if its == group]
            freed = sum(birth() is None for birth in births)
            way = ways.get(group, WayOut())
            of_graph = any(birth.operation == GRAPH or birth.saved or birth.phase == "backward" for birth in births)
            if freed * 2 > len(births):
                kind = "reference cycle"
            elif way.kind:
                kind = way.kind
            else:
                kind = "C++ cycle" if of_graph and double_backward else "held by an extension"
            site = self.sites[group]
            culprit = self.culprits.setdefault(kind, Culprit(kind, [], site, note=way.types))
            culprit.sites.append(site)
            if way.attribute is not None:
                culprit.extra["attribute"] = way.attribute
        for kind in ("ctx cycle", "hook cycle"):  # what else is kept without a name is in their graphs
            if kind in self.culprits and "held by an extension" in self.culprits:
                self.culprits[kind].sites += self.culprits.pop("held by an extension").sites
        if "C++ cycle" in self.culprits and "held by an extension" in self.culprits:
            self.culprits["C++ cycle"].sites += self.culprits.pop("held by an extension").sites

    def _blame(
        self,
        group: int,
        holding: Holding,
        target: Any,
        entries: int,
        graph: GraphHolding | None = None,
        carried: bool = False,
    ) -> None:
        site = self.sites[group]
        births = self.samples[site]
        at = None if carried else holding.container
        container = holding.chain[at] if at is not None else None
        expression = holding.expressions[at] if at is not None else None
        made_at = site
        if graph is not None or site.operation == GRAPH:
            birth = self.tensors.live.get(key_of(target))
            if birth is not None:
                made_at = birth.site
        name = expression or holding.expression
        key = f"{holding.scope} {name}"
        culprit = self.culprits.get(key)
        if culprit is None:
            culprit = self.culprits[key] = Culprit(
                "", [], made_at, holding, container, expression, born_in=births[0].phase, entries=entries
            )
        elif graph is None and culprit.via_graph:
            culprit.made_at = site  # the held object itself says more than what its graph keeps
            culprit.holding = holding
        culprit.sites.append(site)
        if graph is not None:
            culprit.via_graph = True
            culprit.graph_nodes = max(culprit.graph_nodes, graph.nodes)
            before = culprit.extra.get("carried", False)
            culprit.extra["carried"] = carried or before or (len(graph.reached) > 1 and container is None)
        culprit.extra["saved"] = culprit.extra.get("saved", False) or (graph is not None and site.operation != GRAPH)
        culprit.extra["joined"] = births[0].lineage[0] >= WATCH
        culprit.kind = cause_of(culprit, target)


def _is_transient(holding: Holding) -> bool:
    """Whether an object is only passing through a library's function."""
    return holding.kind == "local" and holding.container is None and "/torch/" in holding.scope
