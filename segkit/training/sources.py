"""What options name of other runs and of the data: the checkpoint of a run, a part of the labels."""

from dataclasses import replace
from pathlib import Path

from segkit.config.train import TrainConfig
from segkit.data.records import Dataset
from segkit.data.stratify import part_of, stratified_order
from segkit.models.weights import NAMES
from segkit.runs.checkpoint import find_checkpoint


def share_of(training: Dataset, config: TrainConfig) -> Dataset:
    """The part of the training images that is learnt from; those of a smaller share are in each larger one."""
    if config.label_share is None or config.label_share == 1:
        return training
    count = max(1, round(config.label_share * len(training.images)))
    return part_of(training, stratified_order(training, config.seed)[:count])


def with_weight_file(config: TrainConfig) -> TrainConfig:
    """The same options with the checkpoint of a run that ``--weights`` names.

    Raises:
        InputError: The folder holds none.
    """
    if config.weights is None or config.weights in NAMES or not Path(config.weights).is_dir():
        return config
    return replace(config, weights=str(find_checkpoint(Path(config.weights))))
