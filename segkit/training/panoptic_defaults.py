"""What a model of things and stuff is made with: the categories that were named, and the weights of losses."""

from dataclasses import replace

from segkit.choices import ARCHITECTURES
from segkit.config.train import TrainConfig
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.models.panoptic_settings import PanopticSettings
from segkit.models.tensors import labels_of

_SEMANTIC_WEIGHT = 0.5  # the paper's, for COCO: section 5.1
_LISTED = 8


def things_of(config: TrainConfig, training: Dataset) -> Dataset:
    """The training split without the categories that are stuff; the same dataset where none is.

    Raises:
        ConfigError: ``--stuff`` names a category that there is not, or all of them, or all that are annotated.
    """
    names = config.stuff or ()
    if not names:
        return training
    known = [category.name for category in training.categories]
    if unknown := [name for name in names if name not in known]:
        some = ", ".join(known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
        raise ConfigError(f"--stuff {unknown[0]}: {config.dataset} has no category {unknown[0]!r}", f"it has {some}")
    things = training.without({category.id for category in training.categories if category.name in names})
    if not things.categories:
        raise ConfigError(
            f"--stuff {','.join(names)}: all categories are stuff, and none are things", "use --model unet"
        )
    if not things.annotations:
        raise ConfigError(
            f"--stuff {','.join(names)}: the training split has no annotation of a thing", "use --model unet"
        )
    return things


def panoptic_settings_for(config: TrainConfig, training: Dataset) -> PanopticSettings | None:
    """The settings of a model of things and stuff; None of other models."""
    if not ARCHITECTURES[config.model].stuff:
        return None
    labels, names = labels_of(training.categories), config.stuff or ()
    return PanopticSettings(
        stuff=tuple(labels[category.id] for category in training.categories if category.name in names),
        background=training.uncovered == "background",
        semantic_weight=None if isinstance(config.semantic_weight, str) else config.semantic_weight,
    )


def with_panoptic_weight(config: TrainConfig) -> TrainConfig:
    """The options with a weight of the loss of stuff, where the model has one."""
    if not ARCHITECTURES[config.model].stuff or config.semantic_weight is not None:
        return config
    return replace(config, semantic_weight=_SEMANTIC_WEIGHT)
