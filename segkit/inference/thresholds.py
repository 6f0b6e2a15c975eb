"""Which instances the options keep: least scores by category, from what ``--score`` says, and the rest."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.config.predict import DEFAULT_SCORE, KEPT_SCORES, PredictConfig
from segkit.data.records import Category
from segkit.errors import ConfigError, InputError
from segkit.evaluation.provenance import digest_of
from segkit.inference.choose import Choice
from segkit.runs.find import folder_of_scores

METRICS, PROMISE = "metrics.json", "promise.json"


def choice_of(config: PredictConfig, categories: Sequence[Category], model: Path) -> Choice:
    """Which instances are kept.

    Args:
        config: The options.
        categories: Of the model.
        model: Its file.

    Raises:
        ConfigError: The model does not have a category that is named.
        InputError: ``--score best`` or ``--score promise`` has no threshold.
    """
    low, high = config.areas
    scores = least_scores(config.score, categories, model)
    if config.categories:
        wanted = ids_of("--categories", config.categories, categories)
        scores = {number: score for number, score in scores.items() if number in wanted}
    return Choice(scores, low, high, config.edge, config.nms, config.nms_across, config.max_instances)


def score_used(config: PredictConfig, choice: Choice) -> float | str:
    """``--score`` as the journal has it: what ``best`` and ``promise`` mean may change."""
    return next(iter(choice.scores.values()), 0.0) if config.score in KEPT_SCORES else config.score


def least_scores(score: float | str, categories: Sequence[Category], model: Path) -> dict[int, float]:
    """The least score by category id.

    Args:
        score: As parsed: a number, ``best``, ``promise``, or ``cell=0.3,debris=0.7`` (the others have the default).
        categories: Of the model.
        model: Its file; ``metrics.json`` and ``promise.json`` in the folder of its scores have its thresholds.

    Raises:
        ConfigError: There is no such category.
        InputError: ``eval`` has found no threshold for this very file.
    """
    if score == "best":
        score = best_score(model)
    if score == "promise":
        score = promised_score(model)
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
        model: Its file. ``eval`` writes ``metrics.json`` into the folder of its scores; earlier versions wrote it
            beside any model file.

    Raises:
        InputError: There is none, or it is about another model, or about this one before it changed.
    """
    places = dict.fromkeys((folder_of_scores(model) / METRICS, model.parent / METRICS))
    known = {path: found for path in places if (found := _read_best(path)) is not None}
    hint = f"find it: segkit eval {model} --details"
    if not known:
        raise InputError(f"--score best: {next(iter(places))} has no threshold", hint)
    digest = digest_of(model)
    own = [best for about, best in known.values() if about == digest]
    if not own:
        text = f"--score best: {next(iter(known))} is about another model, or about this one before it changed"
        raise InputError(text, hint)
    return own[0]


def _read_best(path: Path) -> tuple[str, float] | None:
    """The digest of the model that a file of metrics is about, and its best threshold; None where it has none."""
    try:
        metrics: Any = json.loads(path.read_text(encoding="utf-8"))
        digest, best = metrics["about"]["subject"]["digest"], metrics["details"]["overall"]["best"]["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(best, float | int) or not 0 <= best <= 1:
        return None
    return str(digest), float(best)


def promised_score(model: Path) -> float:
    """The threshold that ``eval --promise`` found for a model.

    Args:
        model: Its file; the promise is in the folder of its scores.

    Raises:
        InputError: There is none, or it is about another model, or about this one before it changed.
    """
    path, hint = folder_of_scores(model) / PROMISE, f"find it: segkit eval {model} --promise 'recall >= 0.95'"
    try:
        kept: Any = json.loads(path.read_text(encoding="utf-8"))
        digest, score = kept["about"]["subject"]["digest"], kept["promise"]["score"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--score promise: {path} has no threshold", hint) from None
    if not isinstance(score, float | int) or not 0 <= score <= 1:
        raise InputError(f"--score promise: {path} has no threshold from 0 to 1", hint)
    if digest != digest_of(model):
        raise InputError(f"--score promise: {path} is about another model, or about this one before it changed", hint)
    return float(score)


def promise_warning(config: PredictConfig) -> list[str]:
    """A warning where options change what is found, so that a promise says nothing about it."""
    keep_recall = {"pixel_size", "pages"} | ({"edge"} if config.edge == "mark" else set())
    others = [name for name in config.choice_options() if name not in keep_recall]
    if config.score != "promise" or not others:
        return []
    flags = ", ".join("--" + name.replace("_", "-") for name in others)
    return [f"--score promise: the promise was made without {flags}, and does not hold with it"]
