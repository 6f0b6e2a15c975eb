"""From suspect sites to causes: what keeps their tensors, under which name, and why.

One pass over the heap finds the Python tensors behind the storages; one search finds what holds them. Tensors that no
Python object holds are searched for in autograd graphs. For what is in no graph either, garbage is collected once: what
that frees was a reference cycle, and what it does not free is held by C++.
"""

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from segkit.memory.holders.causes import Cause
from segkit.memory.holders.graph_roots import GraphRoot, find_graph_roots
from segkit.memory.holders.kept_tensors import (
    arrays_around,
    best_roots,
    possible_roots,
    python_tensors,
    sample_of_survivors,
)
from segkit.memory.holders.kinds import is_linked, kind_of, kind_of_unnamed
from segkit.memory.holders.reference_chains import ReferenceChain, find_holders
from segkit.memory.holders.referrer_path import ReferrerPath, paths_of_groups
from segkit.memory.holders.survival import SMALL_BYTES, WATCH
from segkit.memory.measure.allocation import GRAPH, Allocation, Site
from segkit.memory.measure.budget import Deadline
from segkit.memory.measure.torch_private import storage_address
from segkit.memory.measure.tracker import LiveTensors


def diagnose(
    tensors: LiveTensors,
    suspects: Sequence[Site],
    ignored: Sequence[object],
    *,
    collect: bool,
    double_backward: bool,
    deadline: Deadline,
) -> tuple[list[Cause], list[Site]]:
    """Find out what keeps the tensors of suspect sites; and the sites for which there was no time.

    Args:
        tensors: All live tensors.
        suspects: Sites whose tensors are kept.
        ignored: The tool's own objects that refer to tensors or to what holds them.
        collect: Whether to collect garbage where nothing else explains a site.
        double_backward: Whether a backward pass has kept its own graph (``create_graph=True``).
        deadline: When to end.
    """
    with tensors.pause():
        sampled = sample_of_survivors(tensors, suspects)
        sampled.update({site: [tensors.joins[site]] for site in suspects if site in tensors.joins})
        by_storage = python_tensors()
        diagnosis = _Diagnosis(tensors, sampled, by_storage, ignored, deadline)
        try:
            left = diagnosis.run(collect, double_backward)
            return list(diagnosis.causes.values()), [diagnosis.sites[group] for group in sorted(left)]
        finally:
            diagnosis.release()


class _Diagnosis:
    """The state of a diagnosis; a group is the allocations of one site.

    Attributes:
        sites: The suspect sites; a group is an index into them.
        sampled: Some allocations of each site.
        by_storage: Python tensors by the address of their storage.
        deadline: When to end.
        ignored: Own objects that refer to tensors, or to what holds them; the lists among them are emptied at the end.
        causes: What was found, by key.
    """

    def __init__(
        self,
        tensors: LiveTensors,
        sampled: dict[Site, list[Allocation]],
        by_storage: dict[int, list[torch.Tensor]],
        ignored: Sequence[object],
        deadline: Deadline,
    ) -> None:
        self.tensors, self.sampled, self.by_storage, self.deadline = tensors, sampled, by_storage, deadline
        self.ignored = [by_storage, sampled, self, vars(self), *by_storage.values()]
        self._callers = list(ignored)  # not to be emptied here
        self.allocations = [allocation for allocations in sampled.values() for allocation in allocations]
        self.groups = [index for index, allocations in enumerate(sampled.values()) for _ in allocations]
        self.causes: dict[str, Cause] = {}
        self.sites = list(sampled)
        self._named: list[tuple[torch.Tensor, ReferenceChain]] = []  # kept tensors that a name reaches
        self._unnamed: list[tuple[torch.Tensor, int, ReferenceChain | None]] = []  # and those whose holder has none

    def release(self) -> None:
        """Let go of every tensor at once: the tool must not keep what it searches for."""
        for tensors in self.by_storage.values():
            tensors.clear()
        self.by_storage.clear()
        for each in self.ignored:
            if type(each) is list and each is not self.allocations:
                each.clear()
        self.ignored = []
        self._named.clear()
        self._unnamed.clear()

    def run(self, collect: bool, double_backward: bool) -> set[int]:
        """Explain all groups, from the plainest way to hold a tensor to the most hidden one.

        Returns the groups for which there was no time. Where there was, that nothing is found is an explanation, too.
        """
        whole = self.deadline
        self.deadline = Deadline(0.75 * whole.left)  # the rest is for graphs
        left = self._explain_by_names(set(self.groups), unnamed=not collect, later=True)
        left = self._explain_by_graphs_of_named(left)
        if left and self.causes and self._are_trifles(left):
            left = set()
        if left and not self.deadline.is_over:
            left = self._explain_by_arrays(left)
        self.deadline = whole
        if not self.deadline.is_over:
            left = self._explain_by_graphs(left)
        left -= self._add_named(*self._without_name(left))
        if left and not self.deadline.is_over:
            self._explain_unnamed(left, collect, double_backward)
            left = set()
        return left

    def _are_trifles(self, groups: set[int]) -> bool:
        """Whether some groups are numbers in tensors: beside what was found they are not worth a search of the heap."""
        return all(each.size < SMALL_BYTES and each.site.operation != GRAPH for each, _ in self._of(groups))

    def _of(self, groups: set[int]) -> Iterator[tuple[Allocation, int]]:
        """The allocations of some groups."""
        for allocation, group in zip(self.allocations, self.groups, strict=True):
            if group in groups:
                yield allocation, group

    def _find_holders(
        self, targets: list[Any], groups: list[int], *ignored: object, unnamed: bool = False
    ) -> list[ReferenceChain | None]:
        if not targets:
            return []
        skipped = [*self.ignored, *self._callers, self._callers, targets, *ignored]
        return find_holders(targets, groups, skipped, unnamed=unnamed, deadline=self.deadline)

    def _explain_by_names(self, asked: set[int], unnamed: bool = False, later: bool = False) -> set[int]:
        """Explain groups whose tensors a Python name reaches; returns those that are left.

        Args:
            asked: The groups.
            unnamed: Where no name reaches a tensor, begin with the nearest object of a class of the user's.
            later: Put these aside until nothing better is found.
        """
        targets, groups = self._targets(asked)
        chains = self._find_holders(targets, groups, unnamed=unnamed)
        if later:
            found = zip(targets, groups, chains, strict=True)
            self._unnamed += [each for each in found if each[2] is not None and each[2].kind == "unnamed"]
            chains = [None if chain is None or chain.kind == "unnamed" else chain for chain in chains]
        return asked - self._add_named(targets, groups, chains)

    def _without_name(self, asked: set[int]) -> tuple[list[Any], list[int], list[ReferenceChain | None]]:
        """The tensors of some groups that were put aside, the group of each, and the chain to each."""
        held = [each for each in self._unnamed if each[1] in asked]
        return [each[0] for each in held], [each[1] for each in held], [each[2] for each in held]

    def _explain_by_arrays(self, asked: set[int]) -> set[int]:
        """Explain groups whose tensors' memory is in NumPy arrays that a name reaches; returns those that are left."""
        targets, groups = self._targets(asked)
        arrays = arrays_around(targets) if targets else {}
        if not arrays:
            return asked
        searched = [arrays.get(id(each), each) for each in targets]
        chains = self._find_holders(searched, groups, targets, arrays)
        searched.clear()
        arrays.clear()
        return asked - self._add_named(targets, groups, chains)

    def _targets(self, asked: set[int]) -> tuple[list[Any], list[int]]:
        """The tensors of some groups that Python sees, each with its group."""
        targets: list[Any] = []
        groups: list[int] = []
        for allocation, group in self._of(asked):
            for tensor in self.by_storage.get(allocation.key, ())[:2]:
                targets.append(tensor)
                groups.append(group)
        return targets, groups

    def _add_named(self, targets: list[Any], groups: list[int], chains: list[ReferenceChain | None]) -> set[int]:
        """Note the groups of which names reach half of the tensors or more; returns those groups.

        Args:
            targets: The tensors.
            groups: The group of each.
            chains: The chain to each; None where no name reaches it.
        """
        votes: dict[int, list[tuple[ReferenceChain, Any]]] = defaultdict(list)
        for target, group, chain in zip(targets, groups, chains, strict=True):
            if chain is not None and not chain.is_transient:
                votes[group].append((chain, target))
        explained = set()
        for group, held in votes.items():
            if len(held) * 2 < len(self.sampled[self.sites[group]]):
                continue  # something else keeps most of them
            chain, target = next((each for each in held if each[0].container is not None), held[0])
            self._named += [(target, chain) for chain, target in held]
            self._add_cause(group, chain, target)
            explained.add(group)
        return explained

    def _explain_by_graphs_of_named(self, left: set[int]) -> set[int]:
        """Explain groups by the graphs of tensors that have a name: often these keep all the others."""
        roots = [tensor for tensor, _ in self._named if tensor.grad_fn is not None]
        if not left or not roots:
            return left
        chains = {id(tensor): chain for tensor, chain in self._named}
        found = sorted(find_graph_roots(roots, *self._wanted(left), self.deadline), key=lambda each: each.nodes)
        held = [(each, chains[id(each.root)]) for each in found]
        return left - self._add_graphs(held, left, least=0.5)

    def _explain_by_graphs(self, left: set[int]) -> set[int]:
        """Explain groups of saved tensors, and of graphs, that any tensor's autograd graph keeps."""
        if not left:
            return left
        roots = possible_roots(self.by_storage)
        wanted, tokens = self._wanted(left)
        found = find_graph_roots(roots, wanted, tokens, self.deadline)
        self.ignored += [roots, found, wanted, tokens]
        chosen = best_roots(found)
        targets = [each.root for each in chosen]
        chains = self._find_holders(targets, [0] * len(targets), chosen)
        held = [(graph, chain) for graph, chain in zip(chosen, chains, strict=True) if chain is not None]
        return left - self._add_graphs(held, left)

    def _wanted(self, asked: set[int]) -> tuple[dict[int, int], dict[int, int]]:
        """Indices of the allocations of some groups, by the addresses of storages, and by what nodes own."""
        wanted: dict[int, int] = {}
        tokens: dict[int, int] = {}
        for index, (allocation, group) in enumerate(zip(self.allocations, self.groups, strict=True)):
            if group in asked and allocation.site.operation == GRAPH:
                tokens[id(allocation())] = index
            elif group in asked:
                wanted[allocation.key] = index
        return wanted, tokens

    def _add_graphs(self, held: list[tuple[GraphRoot, ReferenceChain]], left: set[int], least: float = 0.0) -> set[int]:
        """Note which groups the graphs of named tensors keep; returns those groups.

        Args:
            held: The graphs, each with the chain to its root.
            left: The groups that are not explained.
            least: The share of a group's allocations that they have to keep.
        """
        explained: set[int] = set()
        for group in sorted(left):
            own = [each for each in held if any(self.groups[index] == group for index in each[0].reached)]
            kept = {index for graph, _ in own for index in graph.reached if self.groups[index] == group}
            if not own or len(kept) < least * self.groups.count(group):
                continue
            graph, chain = next((each for each in own if each[1].container is not None), own[0])
            over_steps = next((each for each in own if self._spans_steps(each[0], group)), None)
            if over_steps is not None:
                graph, chain = over_steps
            self._add_cause(group, chain, graph.root, graph, over_steps is not None)
            explained.add(group)
        return explained

    def _spans_steps(self, graph: GraphRoot, group: int) -> bool:
        """Whether one graph goes through several steps: then it is the graph that grows, and not what holds it."""
        reached = sum(self.groups[index] == group for index in graph.reached)
        return reached >= 2 and reached * 2 >= self.groups.count(group)

    def _explain_unnamed(self, left: set[int], collect: bool, double_backward: bool) -> None:
        """Explain groups that no Python name reaches: by a cycle, if the garbage collector frees their tensors."""
        allocations = list(self._of(left))
        if collect:
            for storages in self.by_storage.values():
                storages.clear()
            gc.collect()
            alive = python_tensors()
            self.by_storage.update(alive)
            self.ignored += [alive, *alive.values()]
            still = {group for allocation, group in allocations if allocation() is not None}
            whole, self.deadline = self.deadline, Deadline(0.5 * self.deadline.left)  # the rest is for paths
            left = (left - still) | self._explain_by_names(still, unnamed=True)
            self.deadline = whole
        paths = self._paths([each for each in allocations if each[1] in left], allocations)
        for group in left:
            site, path = self.sites[group], paths.get(group, ReferrerPath())
            kind = kind_of_unnamed([each for each, its in allocations if its == group], path, double_backward)
            cause = self.causes.setdefault(kind, Cause(kind, [], site, note=path.types))
            cause.sites.append(site)
            if path.attribute is not None:
                cause.ctx_attribute = path.attribute
        # What else is kept without a name is in the graphs of these.
        for kind in ("ctx cycle", "hook cycle", "C++ cycle"):
            if kind in self.causes and "held by an extension" in self.causes:
                self.causes[kind].sites += self.causes.pop("held by an extension").sites

    def _paths(self, allocations: list[tuple[Allocation, int]], *ignored: object) -> dict[int, ReferrerPath]:
        """What refers to a tensor of each of some groups (``paths_of_groups``)."""
        own = {id(each) for each in (*self.ignored, *self._callers, self.ignored, self._callers, allocations, *ignored)}
        return paths_of_groups(allocations, self.by_storage, own, self.deadline)

    def _add_cause(
        self,
        group: int,
        chain: ReferenceChain,
        target: Any,
        graph: GraphRoot | None = None,
        spans_steps: bool = False,
    ) -> None:
        """Note what keeps a group.

        Args:
            group: The group.
            chain: The chain to one of its tensors, or to a tensor whose graph keeps it.
            target: That tensor.
            graph: The graph, if it is a graph that keeps the group.
            spans_steps: Whether that graph goes through several steps.
        """
        site = self.sites[group]
        first = self.sampled[site][0]
        at = None if spans_steps or is_linked(chain.objects) else chain.container
        container = chain.objects[at] if at is not None else None
        expression = chain.expressions[at] if at is not None else None
        made_at = site
        if graph is not None or site.operation == GRAPH:
            allocation = self.tensors.live.get(storage_address(target))
            if allocation is not None:
                made_at = allocation.site
        key = f"{chain.scope} {expression or chain.expression}"
        cause = self.causes.get(key)
        if cause is None:
            cause = self.causes[key] = Cause("", [], made_at, chain, container, expression, first.phase)
        elif graph is None and cause.via_graph:
            cause.made_at, cause.chain = site, chain  # the kept object itself says more than what its graph keeps
        cause.sites.append(site)
        if graph is not None:
            cause.add_graph(graph, site, spans_steps or (len(graph.reached) > 1 and container is None))
        cause.concatenated = first.joined[0] >= WATCH
        cause.kind = kind_of(cause, target)
