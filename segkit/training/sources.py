"""What options name of other runs and of the data: the checkpoint of a run, a part of the labels."""

from dataclasses import replace
from pathlib import Path

import torch

from segkit.choices import ARCHITECTURES
from segkit.config.train import TrainConfig
from segkit.data.records import Dataset
from segkit.data.stratify import part_of, stratified_order
from segkit.errors import ConfigError
from segkit.models.adapt import body_name
from segkit.models.card import ModelCard
from segkit.models.weight_files import WeightFile
from segkit.models.weights import NAMES
from segkit.runs.find import find_checkpoint


def share_of(training: Dataset, config: TrainConfig) -> Dataset:
    """The part of the training images that is learnt from; those of a smaller share are in each larger one."""
    if config.label_share is None or config.label_share == 1:
        return training
    count = max(1, round(config.label_share * len(training.images)))
    return part_of(training, stratified_order(training, config.seed)[:count])


def with_pruning(card: ModelCard, source: WeightFile | None, weights: str | None) -> ModelCard:
    """A model card with what was pruned of the model that a run starts from: the widths of layers, and single weights.

    Args:
        card: The model as options and data have it.
        source: What the file of ``--weights`` holds, if it names one.
        weights: The option.

    Raises:
        ConfigError: The pruned model has other layers.
    """
    if source is None:
        return card
    card = replace(card, sparse=source.sparse)
    if not source.widths:
        return card
    with torch.device("meta"):
        whole = replace(card, widths=()).build()
    names, body = set(whole.state_dict()), f"{body_name(whole)}."
    given = {f"{body}{name}" for name in source.body} | source.others.keys()
    counters = {name for name in names ^ given if name.endswith("num_batches_tracked")}
    if other := sorted((names ^ given) - counters):
        raise ConfigError(
            f"{weights}: was pruned, and the run asks for other layers than it has ({other[0]})",
            "leave out the options that change the network, or start from weights that were not pruned",
        )
    return replace(card, widths=source.widths)


def with_weight_file(config: TrainConfig) -> TrainConfig:
    """The same options with the checkpoint of a run that ``--weights`` names.

    Raises:
        InputError: The folder holds none.
    """
    if config.weights is None or config.weights in NAMES or not Path(config.weights).is_dir():
        return config
    if ARCHITECTURES[config.model].queries and (Path(config.weights) / "config.json").is_file():
        return config  # a folder of transformers
    return replace(config, weights=str(find_checkpoint(Path(config.weights))))
