"""Opinions compared with the expectations in the zoo's scripts."""

import importlib.util
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from .rules import Opinion, Row, Rule

ZOO = Path(__file__).parents[2] / "tests" / "zoo"


def _load_zoo() -> Any:
    sys.path.insert(1, str(ZOO))
    spec = importlib.util.spec_from_file_location("zoo_run", ZOO / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["zoo_run"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


zoo = _load_zoo()


class Case(NamedTuple):
    """A script of the zoo with a seed."""

    script: Path
    seed: int

    @property
    def leaks(self) -> bool:
        return self.script.parent.name == "leaks"

    @property
    def group(self) -> str:
        first = self.script.stem.partition("_")[0]
        return first if first in ("host", "worker") else "tensor"


class Score(NamedTuple):
    """What is right of the opinion on one case; None where the case expects nothing of the kind, or its run failed."""

    case: Case
    accused: bool
    made: bool | None = None
    stored: bool | None = None
    held: bool | None = None
    fix: bool = False
    step: int | None = None
    shown: int = 0


def score(case: Case, opinion: Opinion) -> Score:
    """Those of another tool; none of them names a holder, or a fix for the case."""
    if not case.leaks:
        return Score(case, opinion.accused, step=opinion.step)
    _, _, made, stored = zoo.expected(case.script)
    return Score(
        case,
        opinion.accused,
        bool(opinion.lines & made) if made else None,
        bool(opinion.lines & stored) if stored else None,
        False,
        step=opinion.step,
        shown=len(opinion.lines),
    )


def score_segkit(case: Case, seen: dict[str, Any]) -> Score:
    """Those of segkit, as in ``tests/zoo/run.py``; on a clean script the verdict ``leak`` is a false positive."""
    if not case.leaks:
        return Score(case, seen["verdict"] == "leak")
    made, stored = (bool(numbers) or None for numbers in zoo.expected(case.script)[2:])
    leaks = [leak for leak in seen["report"].get("leaks", []) if leak["is_leak"]]
    return Score(
        case,
        seen["found"],
        made and bool(seen["made"]),
        stored and bool(seen["stored"]),
        bool(seen["held"]),
        any(leak.get("fix") for leak in leaks),
        step=min((leak["leak_since"] for leak in leaks if leak.get("leak_since")), default=None),
        shown=len({leak["allocated_at"] for leak in leaks} - {None}),
    )


def best(row: Row, seen: dict[Case, dict[str, Any]]) -> tuple[str, list[Score]]:
    """The scores by the best rule of a row: share of leaks found, less share of clean scripts reported."""

    def by(rule: Rule) -> list[Score]:
        return [score(case, rule(found, case.script)) for case, found in seen.items()]

    all_scores = {name: by(rule) for name, rule in row.rules.items()}
    name = max(all_scores, key=lambda name: _worth(all_scores[name]))
    return name, all_scores[name]


def _worth(scores: list[Score]) -> tuple[float, int]:
    leaks, clean = ([s.accused for s in scores if s.case.leaks is kind] for kind in (True, False))
    share = sum(leaks) / max(1, len(leaks)) - sum(clean) / max(1, len(clean))
    return share, sum(bool(s.made) + bool(s.stored) for s in scores)


def cells(scores: list[Score]) -> list[str]:
    """A row of the table, from the column of leaks found to that of steps."""
    leaks = [s for s in scores if s.case.leaks]
    clean = [s.accused for s in scores if not s.case.leaks]
    groups = [_of([s.accused for s in leaks if s.case.group == group]) for group in ("tensor", "host", "worker")]
    parts = [_of([getattr(s, part) for s in leaks]) for part in ("made", "stored", "held", "fix")]
    shown = _middle([s.shown for s in leaks if s.shown])
    steps = _middle([s.step for s in leaks if s.step is not None])
    return [_of([s.accused for s in leaks]), *groups, _of(clean), parts[0], shown, *parts[1:], steps]


def _middle(values: list[int]) -> str:
    return f"{median(values):g}" if values else "-"


def _of(values: list[bool | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known)} of {len(known)}"
