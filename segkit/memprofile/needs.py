"""What a training needs on a GPU, from a rehearsal on fake tensors, and whether a GPU has it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from segkit.memory.simulate.allocator import ReplayPeaks, least_limit, replay
from segkit.memory.simulate.trace import Event, Peak
from segkit.memprofile.cheaper_options import Changes, options_of
from segkit.training.plan import Plan
from segkit.training.rehearsal.batches import Scene, largest_to_evaluate, scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal
from segkit.units import format_bytes


class FitVerdict(NamedTuple):
    """Whether a GPU is large enough, and why."""

    verdict: Literal["fits", "tight", "does not fit"]
    why: str


_FIXED = ("parameters", "buffers", "gradients", "optimiser state", "averaged weights", "teacher", "labels alone")
_GIB = 2**30
_FILLED = 0.95  # of what the allocator has reserved: over many steps, some of it is lost between blocks
EVALUATING = "evaluating"


@dataclass(frozen=True, slots=True)
class Overhead:
    """What a GPU holds in addition to the tensors of a training.

    The defaults are assumptions: nothing here was measured on a GPU. The driver keeps 0.2 to 0.4 GiB of the memory for
    itself, the CUDA context with PyTorch's kernels takes 0.3 to 0.5 GiB, and convolutions need workspaces.

    Attributes:
        fixed: Bytes, whatever is trained.
        share: Additional bytes, as a share of the peak of the tensors.
        assumed: Whether these are the defaults, and were not measured.
        gpu: The GPU on which they were measured, with driver and PyTorch; None: they were assumed, or given.
    """

    fixed: int = round(0.8 * _GIB)
    share: float = 0.05
    assumed: bool = True
    gpu: str | None = None

    def of(self, allocated: int) -> int:
        """Additional bytes for so many bytes of tensors."""
        return self.fixed + round(self.share * allocated)


@dataclass(frozen=True, slots=True, eq=False)
class RehearsedStep:
    """A rehearsed step or evaluation.

    Attributes:
        scene: Its batch.
        peak: The highest sum of live tensors.
    """

    scene: Scene
    peak: Peak


@dataclass(frozen=True, eq=False)
class Estimate:
    """What one training needs.

    Attributes:
        changes: Options that differ from the configured ones.
        micro_batch: Images that go through the model at once.
        overhead: What a GPU holds in addition to tensors.
        held: Bytes between steps.
        rehearsed: The steps that were rehearsed, after the model was built.
        events: Allocations and releases.
        ends: Numbers of events after the model was built, and after each step.
        unknown: Operations whose sizes had to be guessed.
    """

    changes: Changes
    micro_batch: int
    overhead: Overhead
    held: int
    rehearsed: tuple[RehearsedStep, ...]
    events: tuple[Event, ...] = field(repr=False)
    ends: tuple[int, ...]
    unknown: tuple[str, ...]

    @property
    def options(self) -> str:
        """The changes as options of the command line."""
        return options_of(self.changes)

    @cached_property
    def native(self) -> ReplayPeaks:
        """The peaks of CUDA's allocator."""
        return replay(self.events, self.ends)

    @cached_property
    def expandable(self) -> ReplayPeaks:
        """The same with expandable segments."""
        return replay(self.events, self.ends, expandable=True)

    @property
    def worst(self) -> RehearsedStep:
        """The step that needs the most."""
        return max(self.rehearsed, key=lambda step: step.peak.allocated)

    @property
    def heaviest_kind(self) -> str:
        """The name of the real batches that need the most."""
        real = [each for each in self.rehearsed if not each.scene.at_most and each.scene.name != EVALUATING]
        return max(real, key=lambda each: each.peak.allocated, default=self.worst).scene.name

    @property
    def allocated(self) -> tuple[int, int]:
        """Peak of tensors in the first steps, and at most."""
        return self._now(self.native.allocated), max(self.native.allocated)

    @property
    def reserved(self) -> tuple[int, int]:
        """What the allocator reserves for them in the first steps, and at most."""
        return self._now(self.native.reserved), max(self.native.reserved)

    def _now(self, series: tuple[int, ...]) -> int:
        """The maximum over steps that are no upper bounds; over all where there are only bounds."""
        real = [value for value, step in zip(series[1:], self.rehearsed, strict=True) if not step.scene.at_most]
        return max(real) if real else max(series)

    @cached_property
    def least(self) -> tuple[int, int]:
        """The least that the allocator needs, in the first steps and at most, if it frees what it does not use."""
        most = least_limit(self.events, self.ends[-1])
        if not self.rehearsed[-1].scene.at_most:
            return most, most
        return min(most, least_limit(self.events, self.ends[-2])), most

    @cached_property
    def needs(self) -> tuple[int, int]:
        """Bytes that a GPU should have, in the first steps and at most; what is lost between blocks is included."""
        now, most = (
            min(reserved, round(least / _FILLED)) + self.overhead.of(allocated)
            for least, reserved, allocated in zip(self.least, self.reserved, self.allocated, strict=True)
        )
        return min(now, most), most

    def fits(self, vram: int) -> bool:
        """Whether a GPU with so many bytes has all that can be needed."""
        return self.needs[1] <= vram

    def verdict(self, vram: int) -> FitVerdict:
        """Whether a GPU with so many bytes is large enough, and why.

        It fits if the GPU has all that can be needed at most. It is tight if that depends on the allocator, or on how
        many regions become positive.
        """
        now, most = self.needs
        if self.fits(vram):
            return FitVerdict("fits", f"{format_bytes(vram - most)} to spare")
        if self.fits_when_expandable(vram):
            return FitVerdict("tight", "with expandable segments only")
        if self.least[1] + self.overhead.of(self.allocated[1]) <= vram:
            return FitVerdict("tight", "with nothing to spare")
        if now <= vram:
            return FitVerdict("tight", "in the first steps; it may run out as regions are found")
        return FitVerdict("does not fit", f"{format_bytes(most - vram)} short")

    def fits_when_expandable(self, vram: int) -> bool:
        """Whether it fits with expandable segments and no other change."""
        return max(self.expandable.reserved) + self.overhead.of(max(self.expandable.allocated)) <= vram

    def binding(self) -> tuple[str, int]:
        """The part that needs the most at the highest peak, besides what every step holds; and its bytes."""
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


def estimate_training(
    plan: Plan, changes: Changes, micro_batch: int, ranks: int, overhead: Overhead, kind: str | None = None
) -> Estimate:
    """Estimate what a training needs, from its heaviest steps and an evaluation.

    Args:
        plan: The training.
        changes: Options that differ from the configured ones.
        micro_batch: Images that go through the model at once.
        ranks: GPUs that share a batch.
        overhead: What a GPU holds in addition to tensors.
        kind: The name of the real batches to rehearse beside the bound; None: all kinds.
    """
    share = plan.batch // ranks
    # A second micro-batch finds the gradients of the first; more of them find no more than that.
    scenes = scenes_of(plan, micro_batch * min(2, -(-share // micro_batch)))
    real = [scene for scene in scenes[:-1] if kind in (None, scene.name)] or scenes[:-1]
    evaluated = [Scene(EVALUATING, (shape,), None, at_most=False) for shape in largest_to_evaluate(plan)]
    rehearsed: list[RehearsedStep] = []
    with Rehearsal(plan, micro_batch, ranks=ranks) as rehearsal:
        trace = rehearsal.trace
        held, ends = trace.allocated, [len(trace.events)]
        # The bound comes last, so that what the allocator holds until then is what real batches need.
        for scene in (*real, *evaluated, scenes[-1]):
            peak = rehearsal.step(scene) if scene not in evaluated else rehearsal.evaluate(scene.heaviest)
            rehearsed.append(RehearsedStep(scene, peak))
            ends.append(len(trace.events))
        events, unknown = tuple(trace.events), tuple(rehearsal.oracle.unknown)
    return Estimate(changes, micro_batch, overhead, held, tuple(rehearsed), events, tuple(ends), unknown)
