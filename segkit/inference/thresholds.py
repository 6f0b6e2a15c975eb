"""The least score of each category, from what ``--score`` says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.config.predict import DEFAULT_SCORE
from segkit.data.records import Category
from segkit.errors import ConfigError, InputError
from segkit.evaluate.provenance import digest_of

METRICS = "metrics.json"


def least_scores(score: float | str, categories: Sequence[Category], model: Path) -> dict[int, float]:
    """The least score by category id.

    Args:
        score: As parsed: a number, ``best``, or ``cell=0.3,debris=0.7``, where the others have the default.
        categories: Of the model.
        model: Its file; ``metrics.json`` beside it has the best threshold.

    Raises:
        ConfigError: There is no such category.
        InputError: ``eval`` has found no threshold for this very file.
    """
    if score == "best":
        score = best_score(model)
    if isinstance(score, float | int):
        return {category.id: float(score) for category in categories}
    own = dict(part.split("=") for part in score.split(",") if "=" in part)
    rest = next((float(part) for part in score.split(",") if "=" not in part), DEFAULT_SCORE)
    ids_of("--score", list(own), categories)
    return {category.id: float(own.get(category.name, rest)) for category in categories}


def ids_of(option: str, names: Sequence[str], categories: Sequence[Category]) -> frozenset[int]:
    """The ids of categories that an option names.

    Raises:
        ConfigError: The model does not have one.
    """
    known = {category.name: category.id for category in categories}
    if unknown := [name for name in names if name not in known]:
        some = ", ".join(list(known)[:8])
        raise ConfigError(f"{option}: the model has no category {unknown[0]!r}", f"it has {some}")
    return frozenset(known[name] for name in names)


def best_score(model: Path) -> float:
    """The threshold with the highest F1 that ``eval --details`` found for a model.

    Args:
        model: Its file; ``eval`` writes ``metrics.json`` beside it.

    Raises:
        InputError: There is none, or it is about another model, or about this one before it changed.
    """
    path = model.parent / METRICS
    hint = f"find it: segkit eval {model} --details"
    try:
        metrics: Any = json.loads(path.read_text(encoding="utf-8"))
        digest = metrics["about"]["subject"]["digest"]
        best = metrics["details"]["overall"]["best"]["score"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--score best: {path} has no threshold", hint) from None
    if digest != digest_of(model):
        raise InputError(f"--score best: {path} is about another model, or about this one before it changed", hint)
    if not isinstance(best, float | int) or not 0 <= best <= 1:
        raise InputError(f"--score best: {path} has no threshold", hint)
    return float(best)
