"""Which options of a training run go together."""

from typing import TYPE_CHECKING

from segkit.config.parsers import loss_terms
from segkit.errors import ConfigError

if TYPE_CHECKING:
    from segkit.config.train import TrainConfig

_OF_DETECTORS = (
    "heads", "anchor_sizes", "anchor_ratios", "fpn_levels", "roi_size", "roi_sampling", "proposals", "rois",
    "detections", "nms",
)  # fmt: skip
_OF_UNET = ("instances", "channels", "class_weights", "label_smoothing", "dropout")


def check_together(config: "TrainConfig") -> None:
    """Check that the options of a new run do not contradict each other.

    Raises:
        ConfigError: They do.
    """
    if config.gpus is not None and config.device not in ("auto", "cuda"):
        raise ConfigError(f"--gpus and --device {config.device} contradict each other")
    if config.ranks > 1 and config.device != "cpu":
        raise ConfigError("--ranks goes with --device cpu", "on GPUs, name them: --gpus 0,1")
    if config.compile and config.memory == "low":
        raise ConfigError("--compile and --memory low do not go together", "leave one of them out")
    if config.ema == 1:
        raise ConfigError("--ema 1: the averaged weights would stay those of the start", "use 0.999, for example")
    if config.momentum == 1:
        raise ConfigError("--momentum 1: no gradient would ever be forgotten", "use 0.9, for example")
    _check_unet(config)
    _check_detector(config)
    config.check_teaching(config.compile)
    if config.schedule != "step" and (config.lr_steps or config.lr_gamma is not None):
        raise ConfigError("--lr-steps and --lr-gamma go with --schedule step")
    if config.size and config.max_size and config.max_size < config.size:
        raise ConfigError(f"--max-size {config.max_size} is less than --size {config.size}")


def _check_unet(config: "TrainConfig") -> None:
    given = [name for name in _OF_UNET if getattr(config, name)]
    if given and config.model != "unet":
        raise ConfigError(f"--{given[0].replace('_', '-')} is for --model unet; {config.model} has none")
    if config.label_smoothing and "ce" not in loss_terms(config.loss):
        raise ConfigError(f"--label-smoothing changes cross entropy, which --loss {config.loss} is without")


def _check_detector(config: "TrainConfig") -> None:
    given = [name for name in _OF_DETECTORS if getattr(config, name) is not None]
    if given and config.model == "unet":
        raise ConfigError(f"--{given[0].replace('_', '-')} is for detectors; {config.model} has none")
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
