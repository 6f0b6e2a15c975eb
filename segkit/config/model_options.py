"""Which options of ``train`` go with which model, and with each other."""

from typing import Any

from segkit.choices import ARCHITECTURES
from segkit.errors import ConfigError
from segkit.units import any_of

_OF_SOME = tuple(dict.fromkeys(name for each in ARCHITECTURES.values() for name in each.options))
MASK_SIZES = (56, 112, 224)
"""Rows and columns of a mask in its box, where a model can have more or fewer."""


def check_model_options(config: Any) -> None:
    """Check the options of a model.

    Args:
        config: A ``TrainConfig``.

    Raises:
        ConfigError: One was given that the model does not take, or two that contradict each other.
    """
    for name in _OF_SOME:
        if getattr(config, name) and name not in ARCHITECTURES[config.model].options:
            models = [model for model, each in ARCHITECTURES.items() if name in each.options]
            several = ARCHITECTURES[config.model].pixels and len(models) > 1
            whom = "detectors" if several else f"--model {any_of(models)}"
            raise ConfigError(f"--{name.replace('_', '-')} is for {whom}; {config.model} has none")
    if ARCHITECTURES[config.model].queries:
        _check_transformer(config)
    if config.mask_size and config.mask_head == "conv":
        raise ConfigError("--mask-size is for --mask-head pointrend; masks of conv have 28 rows and columns")
    if config.mask_size and config.mask_size not in MASK_SIZES:
        raise ConfigError(f"--mask-size {config.mask_size}: one of {', '.join(map(str, MASK_SIZES))} is needed")
    levels = config.fpn_levels or (2, 3, 4, 5)
    if levels != tuple(range(levels[0], levels[-1] + 1)) or not 2 <= levels[0] <= levels[-1] <= 5:
        raise ConfigError(
            f"--fpn-levels {','.join(map(str, levels))}: levels from 2 to 5, one after the other, are needed"
        )
    if config.anchor_sizes and len(config.anchor_sizes) != len(levels) + 1:
        raise ConfigError(
            f"--anchor-sizes: {len(config.anchor_sizes)} sizes for {len(levels)} levels of the pyramid and the one "
            f"above: {len(levels) + 1} are needed"
        )


def _check_transformer(config: Any) -> None:
    """Check the options of a model with a feature extractor and norms of its own.

    Raises:
        ConfigError: One would change them.
    """
    if config.backbone not in (None, "dinov2"):
        raise ConfigError(
            f"--backbone {config.backbone}: {config.model} has its own, dinov2", "leave it out; its sizes: --variant"
        )
    if config.norm not in (None, "frozen"):  # as the run's own options have it
        raise ConfigError(f"--norm {config.norm}: {config.model} has layer norms alone", "leave it out")
    if config.init != "default":
        raise ConfigError(f"--init {config.init}: {config.model} starts as its authors' does", "leave it out")
    if config.compile:
        raise ConfigError(f"--compile is not for {config.model}", "leave it out")
