"""Which options of a training run go together."""

from typing import TYPE_CHECKING

from segkit.choices import ARCHITECTURES
from segkit.config.devices import check_devices
from segkit.config.model_options import check_model_options
from segkit.config.parsers import loss_terms
from segkit.errors import ConfigError

if TYPE_CHECKING:
    from segkit.config.train import TrainConfig


def check_together(config: "TrainConfig") -> None:
    """Check that the options of a new run do not contradict each other.

    Raises:
        ConfigError: They do.
    """
    check_devices(config.device, config.gpus, config.ranks)
    if config.compile and config.memory == "low":
        raise ConfigError("--compile and --memory low do not go together", "leave one of them out")
    if config.ema == 1:
        raise ConfigError("--ema 1: the averaged weights would stay those of the start", "use 0.999, for example")
    if config.momentum == 1:
        raise ConfigError("--momentum 1: no gradient would ever be forgotten", "use 0.9, for example")
    check_model_options(config)
    config.check_stuff(ARCHITECTURES[config.model].stuff)
    if config.label_smoothing and "ce" not in loss_terms(config.loss):
        raise ConfigError(f"--label-smoothing changes cross entropy, which --loss {config.loss} is without")
    config.check_teaching(config.model, config.compile, config.ema)
    if config.schedule != "step" and (config.lr_steps or config.lr_gamma is not None):
        raise ConfigError("--lr-steps and --lr-gamma go with --schedule step")
    if config.size and config.max_size and config.max_size < config.size:
        raise ConfigError(f"--max-size {config.max_size} is less than --size {config.size}")
