"""Leak or no leak, by cohort survival.

A slope of memory over steps cannot tell a leak from pictures of growing size. What a leak does and nothing else does is
to keep something of every step: a site whose tensors survive from many different steps, with the oldest of them never
freed, is one. The thresholds were measured on seeded leaks and on clean look-alikes (``docs/decisions``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from segkit.memory.tracker import Site

Verdict = Literal["clean", "watch", "leak", "inconclusive"]
_WATCH, _LEAK = 6, 18  # cohorts: steps of birth with survivors
_STEADY = 0.6  # cohorts in the later half of the steps for each in the earlier half
STEPS_NEEDED = 24  # warm-up, grace and enough cohorts to tell


@dataclass(frozen=True, slots=True)
class Suspect:
    """A site whose tensors stay: how many steps have left some, and what they come to."""

    site: Site
    cohorts: int
    bytes_per_step: float
    is_leak: bool


def judge(survivors: Mapping[Site, Mapping[int, int]], steps: int) -> tuple[Verdict, list[Suspect]]:
    """A verdict over a profile.

    Args:
        survivors: Live bytes by site and step of birth, after warm-up and grace.
        steps: Steps measured.

    Returns:
        ``inconclusive`` where there were too few steps and nothing is suspect, and the suspects, the largest first.
    """
    suspects = []
    for site, cohorts in survivors.items():
        if len(cohorts) < _WATCH:
            continue
        births = sorted(cohorts)
        middle = (births[0] + births[-1] + 1) / 2
        early = sum(birth < middle for birth in births)
        if (len(births) - early) / max(1, early) < _STEADY:
            continue  # it filled up and stopped: a cache
        per_step = sum(cohorts.values()) / max(1, births[-1] - births[0] + 1)
        suspects.append(Suspect(site, len(births), per_step, len(births) >= _LEAK))
    suspects.sort(key=lambda suspect: -suspect.bytes_per_step)
    if any(suspect.is_leak for suspect in suspects):
        return "leak", suspects
    if suspects:
        return "watch", suspects
    return ("clean" if steps >= STEPS_NEEDED else "inconclusive"), []
