"""What a rehearsed training would need on a card, and whether a card has it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from segkit.memory.simulate.allocator import ReplayPeaks, least_limit, replay
from segkit.memory.simulate.trace import Event, Peak
from segkit.memprofile.cheaper_options import Changes, options_of
from segkit.training.plan import Plan
from segkit.training.rehearsal.batches import Shape, largest_to_evaluate, scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal
from segkit.units import format_bytes

Verdict = Literal["fits", "tight", "does not fit"]

_FIXED = ("parameters", "buffers", "gradients", "optimiser state", "averaged weights")
_GIB = 2**30
_FILLED = 0.95  # of what the allocator has: over many steps, some of it falls between blocks
EVALUATING = "evaluating"


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a card holds beside a training's tensors.

    The defaults are assumptions: nothing here was measured on a GPU. The driver keeps 0.2 to 0.4 GiB of a card for
    itself, CUDA's context with PyTorch's kernels takes 0.3 to 0.5 GiB, and convolutions work with buffers of their own.

    Attributes:
        fixed: Bytes, whatever is trained.
        share: Of the tensors at their peak.
        assumed: Whether nobody has measured it.
    """

    fixed: int = round(0.8 * _GIB)
    share: float = 0.05
    assumed: bool = True

    def beside(self, allocated: int) -> int:
        """Bytes beside so many bytes of tensors."""
        return self.fixed + round(self.share * allocated)


@dataclass(frozen=True, slots=True, eq=False)
class RehearsedStep:
    """A rehearsed step or evaluation: what made it heavy, and its peak."""

    name: str
    heaviest: Shape
    frame: tuple[int, int] | None
    at_most: bool
    peak: Peak


@dataclass(frozen=True, eq=False)
class Estimate:
    """What one training would need.

    Attributes:
        changes: What is other than asked for.
        micro_batch: Pictures at once.
        held: Bytes between steps.
        rehearsed: What was rehearsed; building the model comes before them.
        events: Allocations and releases.
        ends: Numbers of events at the end of the building, and of each step.
        unknown: Operations whose sizes had to be guessed.
    """

    changes: Changes
    micro_batch: int
    held: int
    rehearsed: tuple[RehearsedStep, ...]
    events: tuple[Event, ...] = field(repr=False)
    ends: tuple[int, ...]
    unknown: tuple[str, ...]

    @property
    def options(self) -> str:
        """The changes as they would be typed."""
        return options_of(self.changes)

    @cached_property
    def native(self) -> ReplayPeaks:
        """What CUDA's allocator would give and take."""
        return replay(self.events, self.ends)

    @cached_property
    def expandable(self) -> ReplayPeaks:
        """The same with expandable segments."""
        return replay(self.events, self.ends, expandable=True)

    @property
    def worst(self) -> RehearsedStep:
        """What needs the most."""
        return max(self.rehearsed, key=lambda step: step.peak.allocated)

    @property
    def heaviest_kind(self) -> str:
        """The name of the real batches that need the most."""
        real = [each for each in self.rehearsed if not each.at_most and each.name != EVALUATING]
        return max(real, key=lambda each: each.peak.allocated, default=self.worst).name

    @property
    def allocated(self) -> tuple[int, int]:
        """Peak of tensors in the first steps, and at most."""
        return self._now(self.native.allocated), max(self.native.allocated)

    @property
    def reserved(self) -> tuple[int, int]:
        """What the allocator holds for them in the first steps, and at most."""
        return self._now(self.native.reserved), max(self.native.reserved)

    def _now(self, series: tuple[int, ...]) -> int:
        """The most over what is not only a bound; where all is bounds, they are what there is."""
        real = [value for value, step in zip(series[1:], self.rehearsed, strict=True) if not step.at_most]
        return max(real) if real else max(series)

    @cached_property
    def least(self) -> tuple[int, int]:
        """What the allocator can do with, in the first steps and at most: it gives back what other steps left free."""
        most = least_limit(self.events, self.ends[-1])
        if not self.rehearsed[-1].at_most:
            return most, most
        return min(most, least_limit(self.events, self.ends[-2])), most

    def needs(self, overhead: Overhead) -> tuple[int, int]:
        """Bytes that a card should have, in the first steps and at most: with room for what falls between blocks."""
        now, most = (
            min(reserved, round(least / _FILLED)) + overhead.beside(allocated)
            for least, reserved, allocated in zip(self.least, self.reserved, self.allocated, strict=True)
        )
        return min(now, most), most

    def verdict(self, vram: int, overhead: Overhead) -> tuple[Verdict, str]:
        """Whether a card of so many bytes is enough, and a word on why.

        It fits where the most that can be needed is there. It is tight where that depends on the allocator, or on how
        many regions come to be positive.
        """
        now, most = self.needs(overhead)
        if most <= vram:
            return "fits", f"{format_bytes(vram - most)} to spare"
        if self.fits_when_expandable(vram, overhead):
            return "tight", "with expandable segments only"
        if self.least[1] + overhead.beside(self.allocated[1]) <= vram:
            return "tight", "with nothing to spare"
        if now <= vram:
            return "tight", "in the first steps; it may run out as regions are found"
        return "does not fit", f"{format_bytes(most - vram)} short"

    def fits_when_expandable(self, vram: int, overhead: Overhead) -> bool:
        """Whether expandable segments are all that it takes."""
        return max(self.expandable.reserved) + overhead.beside(max(self.expandable.allocated)) <= vram

    def binding(self) -> tuple[str, int]:
        """The part that takes the most at the highest peak, beside what every step holds; and its bytes."""
        parts: dict[str, dict[str, int]] = {}
        for category, size in self.worst.peak.by_category.items():
            if category not in _FIXED:
                whole, _, part = category.partition(", ")
                parts.setdefault(whole, {})[part] = size
        if not parts:
            return "the model itself", self.held
        name = max(parts, key=lambda whole: sum(parts[whole].values()))
        inside = max(parts[name], key=lambda part: parts[name][part])
        return f"the {name}" + (f" (most of it in {inside})" if inside else ""), sum(parts[name].values())


def estimate_training(plan: Plan, changes: Changes, micro_batch: int, ranks: int, kind: str | None = None) -> Estimate:
    """Rehearse a training's heaviest steps and an evaluation.

    Args:
        plan: The training.
        changes: What is other than asked for.
        micro_batch: Pictures at once.
        ranks: GPUs that share a batch.
        kind: The name of the real batches to rehearse beside the bound; None: all kinds.
    """
    share = plan.batch // ranks
    # A second micro-batch finds the gradients of the first; more of them find no more than that.
    scenes = scenes_of(plan, micro_batch * min(2, -(-share // micro_batch)))
    real = [scene for scene in scenes[:-1] if kind in (None, scene.name)] or scenes[:-1]
    rehearsed, ends = [], []
    with Rehearsal(plan, micro_batch, ranks=ranks) as rehearsal:
        trace = rehearsal.trace
        held = trace.allocated
        ends.append(len(trace.events))
        for scene in real:
            peak = rehearsal.step(scene)
            rehearsed.append(RehearsedStep(scene.name, scene.heaviest, scene.frame, scene.at_most, peak))
            ends.append(len(trace.events))
        shape = largest_to_evaluate(plan)
        if shape is not None:
            rehearsed.append(RehearsedStep(EVALUATING, shape, None, False, rehearsal.evaluate(shape)))
            ends.append(len(trace.events))
        scene = scenes[-1]  # comes last, so that what the allocator holds until then is what real batches need
        peak = rehearsal.step(scene)
        rehearsed.append(RehearsedStep(scene.name, scene.heaviest, scene.frame, scene.at_most, peak))
        ends.append(len(trace.events))
        events, unknown = tuple(trace.events), tuple(rehearsal.oracle.unknown)
    return Estimate(changes, micro_batch, held, tuple(rehearsed), events, tuple(ends), unknown)
