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
    check_shard(config)
    if config.shard and config.channels_last and "channels_last" in config.given_options():
        raise ConfigError(
            "--shard and --channels-last do not go together", "PyTorch's fully_shard cannot; leave it out"
        )
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


def check_shard(config: "TrainConfig", ranks: int | None = None) -> None:
    """Check that ``--shard`` can do what it says with the other options.

    Args:
        config: The options.
        ranks: How many ranks share the run; None: not known yet.

    Raises:
        ConfigError: It cannot.
    """
    if not config.shard:
        return
    if ranks == 1:
        raise ConfigError(
            "--shard spreads a model over several ranks, and this run has one",
            "name the GPUs: --gpus 0,1, or on a CPU --device cpu --ranks 2; or leave --shard out",
        )
    whole = "it keeps a second model, which would be whole on every rank"
    alone = "it computes on one rank alone, and the others would wait"
    refused = {
        "--ema": (config.ema, whole),
        "--teacher": (config.teacher is not None, whole),
        "--unlabelled": (config.unlabelled, whole),
        "--unfreeze-after": (config.unfreeze_after is not None, "which layers learn is fixed when they are spread"),
        "--compile": (config.compile, "was not tried together"),
        "--norm sync": (config.norm == "sync", "was not tried together; --norm group does not depend on ranks"),
        "--precision fp16": (config.precision == "fp16", "its loss scale is not shared by ranks; use bf16 or fp32"),
        "--micro-batch auto": (config.micro_batch == "auto", f"{alone}; give a number"),
    }
    for option, (given, why) in refused.items():
        if given:
            raise ConfigError(f"--shard and {option} do not go together", why)
