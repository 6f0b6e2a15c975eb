"""Leak or no leak, by cohort survival.

A rise of memory over steps does not distinguish a leak from images of growing size. Only a leak keeps something of
every step: a site leaks if its tensors survive from many different steps and the oldest of them are never freed. The
thresholds were measured on leaks made for this purpose, and on clean scripts that look similar (``docs/decisions``).
"""

from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["clean", "watch", "leak", "inconclusive", "snapshot"]
WARM_UP, GRACE = 3, 3  # steps: until the optimiser has its state; until what a step made should be freed
WATCH, LEAK = 6, 18  # cohorts: steps with survivors
SMALL_BYTES = 256  # a step: a number or two in a tensor, of which a million are less than a gigabyte
RARE, RARE_BYTES = 3, 4096  # cohorts of what is added rarely, and the bytes of one from which on it matters
STEADY = 0.6  # cohorts in the later half of the steps for each in the earlier half
STEPS_NEEDED = WARM_UP + GRACE + LEAK  # steps after which a run without a suspect site is clean


@dataclass(slots=True)
class SiteSurvival:
    """What survives of one site, by the step that made it.

    Attributes:
        cohorts: Bytes and number of survivors, by the step that made them.
        most: The most cohorts there were.
        bound: The most cohorts there were before the script freed them; 0: it never did.
        emptied: Times that it did.
        added: Cohorts added since the oldest one was freed.
        oldest: The step of the oldest cohort.
        count: Survivors now.
        most_count: The most survivors there were.
        rises: Steps at which there were more than ever before: the first, the last, and how many.
        gap: The longest time between two cohorts.
        freed: Survivors that were freed.
    """

    cohorts: dict[int, list[int]] = field(default_factory=dict)
    most: int = 0
    bound: int = 0
    emptied: int = 0
    added: int = 0
    oldest: int = -1
    count: int = 0
    most_count: int = 0
    rises: tuple[int, int, int] = (0, 0, 0)
    gap: int = 0
    freed: int = 0

    def add(self, step: int, size: int) -> None:
        """Note a survivor."""
        self.count += 1
        cohort = self.cohorts.get(step)
        if cohort is None:
            self.gap = max(self.gap, step - max(self.cohorts, default=step))
            self.cohorts[step] = [size, 1]
            self.added += 1
        else:
            cohort[0] += size
            cohort[1] += 1

    def remove(self, step: int, size: int) -> None:
        """Note that a survivor was freed."""
        cohort = self.cohorts.get(step)
        if cohort is None:
            return
        self.count -= 1
        self.freed += 1
        cohort[0] -= size
        cohort[1] -= 1
        if cohort[1] <= 0:
            del self.cohorts[step]

    def end_step(self, now: int, natural: bool = True) -> None:
        """Update at the end of step ``now``, when all allocations and releases are noted.

        ``natural`` is False if the tool has collected garbage: then it was not the script that freed the tensors.
        """
        count = len(self.cohorts)
        oldest = min(self.cohorts, default=-1)
        if oldest != self.oldest:
            self.oldest, self.added = oldest, (1 if self.oldest >= 0 else self.added)
        if count * 2 <= self.most and self.most >= WATCH and self.count * 2 <= self.most_count:
            if natural:
                self.bound, self.emptied = max(self.bound, self.most), self.emptied + 1
            self.most, self.most_count, self.rises = count, self.count, (now, now, 0)
        self.most = max(self.most, count)
        if self.count > self.most_count:
            first, _, times = self.rises
            self.most_count, self.rises = self.count, (first if times else now, now, times + 1)

    def is_full(self, now: int) -> bool:
        """Whether the number of survivors has not risen for long: new ones replace old ones."""
        first, last, times = self.rises
        pace = (last - first) / max(1, times - 1)
        return now - last > GRACE + max(WATCH, 4 * pace)

    @property
    def is_kept(self) -> bool:
        """Whether something that matters was kept, and nothing was ever freed."""
        return bool(self.cohorts) and not self.freed and self.bytes >= RARE_BYTES * len(self.cohorts)

    def is_rare(self, now: int) -> bool:
        """Whether something is added now and then, late as well, and never freed: a gallery, rare evaluations.

        A cache that has filled gets nothing any more: the time since its last entry is long, compared with the times
        between entries.
        """
        newest = max(self.cohorts, default=0)
        several = len(self.cohorts) >= RARE and self.gap > GRACE and not self.freed and self._state(now) == "clean"
        late = newest > now / 2 and now - newest <= 1.5 * self.gap + GRACE
        return several and late and self.bytes >= RARE_BYTES * len(self.cohorts)

    def state(self, now: int) -> Verdict:
        """``leak``, ``watch`` or ``clean``, at the end of step ``now``."""
        return "watch" if self.is_rare(now) else self._state(now)

    def _state(self, now: int) -> Verdict:
        count = len(self.cohorts)
        if count < WATCH or count < 1.5 * self.bound or self.added < WATCH or self.is_full(now):
            return "clean"
        middle = (self.oldest + now - GRACE + 1) / 2
        early = sum(allocation < middle for allocation in self.cohorts)
        if (count - early) / max(1, early) < STEADY:
            return "clean"  # it filled up and stopped: a cache
        return "leak" if count >= LEAK and self.added >= LEAK else "watch"

    @property
    def bytes(self) -> int:
        """Bytes of all survivors."""
        return sum(cohort[0] for cohort in self.cohorts.values())

    @property
    def bytes_per_cohort(self) -> float:
        """Bytes of the survivors of one step."""
        return self.bytes / max(1, len(self.cohorts))

    @property
    def share_of_steps(self) -> float:
        """The cohorts for each step from the first to the last."""
        return len(self.cohorts) / (max(self.cohorts) - min(self.cohorts) + 1) if self.cohorts else 1.0

    @property
    def bytes_per_step(self) -> float:
        """Bytes for each step from the first to the last cohort."""
        if not self.cohorts:
            return 0.0
        return self.bytes / (max(self.cohorts) - min(self.cohorts) + 1)
