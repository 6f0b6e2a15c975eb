"""Whether a run goes on with the data that it was made with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.data.digest import Digest, differences
from segkit.data.records import Category, Dataset
from segkit.errors import ConfigError
from segkit.models.card import ModelCard
from segkit.runs.folder import CONFIG

_SPLITS = ("train", "val", "unlabelled")


def card_for_data(card: ModelCard, training: Dataset) -> ModelCard:
    """The card of a checkpoint, for a dataset that must have its categories in the same order; ids may differ.

    Raises:
        ConfigError: The categories are others, so that the model's outputs would change their meaning.
    """
    now = training.categories
    if difference := _difference(card.categories, now):
        raise ConfigError(
            f"the run cannot go on with this data: {difference}",
            "convert with --labels of the run's labels.txt, or start a new run with --weights of its best.pt",
        )
    if card.uncovered != training.uncovered:
        raise ConfigError(
            "the run cannot go on with this data: pixels outside annotations "
            f"{'were unlabelled' if card.uncovered == 'ignore' else 'were background'} and are not any more"
        )
    return replace(card, categories=now)


def _difference(before: tuple[Category, ...], now: tuple[Category, ...]) -> str | None:
    """How categories differ, in a sentence; None where they are the same in the same order."""
    old, new = [category.name for category in before], [category.name for category in now]
    if old == new:
        return None
    added, removed = ([name for name in a if name not in b] for a, b in ((new, old), (old, new)))
    if not added and not removed:
        return f"its categories come in another order, {_names(new)}; the run has {_names(old)}"
    said = [f"it has the category {_names(added)}"] if added else []
    said += [f"it lacks the category {_names(removed)}"] if removed else []
    return f"{' and '.join(said)}; the run has {_names(old)}"


def _names(names: list[str], most: int = 6) -> str:
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")


def check_data(run: Path, dataset: Path, content: dict[str, Any], now: dict[str, Digest]) -> list[str]:
    """What the data of a run that goes on has become, as warnings.

    Args:
        run: The run's folder.
        dataset: The data to go on with.
        content: The run's last checkpoint.
        now: The digest of each split.

    Raises:
        ConfigError: Another dataset was named, and does not hold the same.
    """
    before: dict[str, Digest] | None = content.get("data")
    named_anew = dataset.resolve() != load_config(TrainConfig, run / CONFIG).dataset.resolve()
    if before is None:  # a checkpoint of an older segkit
        found = ["its checkpoint does not say what the data was"] if named_anew else []
    else:
        found = [each for split in _SPLITS for each in differences(split, before.get(split), now.get(split))]
    if named_anew and found:
        raise ConfigError(
            f"--resume goes on with the data of {run}: {dataset} is other data: {'; '.join(found)}",
            "name the same data at its new place, or start a new run: --weights of the run's best.pt",
        )
    notes = [f"{dataset}: since the run was saved: {each}" for each in found]
    if "val" in (before or {}) and "val" not in now:
        notes.append("without a validation split best.pt stays as it is")
    elif before is not None and before.get("val") != now.get("val"):
        notes.append("scores on another validation split are not comparable: best.pt may be wrong")
    return notes
