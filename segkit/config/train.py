"""What determines a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segkit.choices import (
    AugmentLevel,
    BackboneName,
    Initialisation,
    ModelName,
    NormName,
    OptimizerName,
    Precision,
    ScheduleName,
    UnetLoss,
)
from segkit.config.fields import CommandConfig, argument, option
from segkit.config.parsers import (
    SIZE_UNITS,
    parse_count_or_auto,
    parse_duration,
    parse_factors,
    parse_indices,
    parse_names,
    parse_size,
)
from segkit.errors import ConfigError

_MODEL, _BUDGET, _DEVICES, _RATES, _DATA, _RUN = (
    "Model", "How long", "Devices and memory", "Optimisation", "Data", "The run"
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(CommandConfig):
    """Everything that determines a training run; None is decided by ``segkit.training.defaults``."""

    dataset: Path = argument(Path("dataset"), help="Dataset folder, or a COCO file.", metavar="DATASET")

    model: ModelName = option("maskrcnn", help="Architecture.", panel=_MODEL)
    backbone: BackboneName | None = option(
        None, help="Feature extractor.  [default: resnet50 with weights for it, else resnet18]", panel=_MODEL
    )
    weights: str | None = option(
        None, help="coco, imagenet, none, or a file.  [default: the best there is for the model]",
        metavar="coco|imagenet|none|FILE", panel=_MODEL,
    )  # fmt: skip
    init: Initialisation = option(
        "default", help="How weights are drawn that are not loaded; default: as each layer's author does.", panel=_MODEL
    )
    norm: NormName | None = option(
        None, help="Normalisation.  [default: frozen over pretrained weights, else batch]", panel=_MODEL
    )
    freeze: tuple[str, ...] | None = option(
        None,
        help="What stays as it is: layers whose names begin so.  [default: stem over pretrained weights, else none]",
        parse=parse_names, metavar="none|stem|backbone|NAME,...", panel=_MODEL,
    )  # fmt: skip
    loss: UnetLoss = option("ce+dice", help="Loss of a U-Net.", panel=_MODEL)
    dropout: float = option(0.0, help="Share of a U-Net's last channels left out in training.", min=0.0, max=0.9,
                            panel=_MODEL)  # fmt: skip

    epochs: int | None = option(
        None,
        help="Passes over the training images.  [default: without any limit, about 4000 steps, 800 on a CPU]",
        min=1,
        panel=_BUDGET,
    )
    steps: int | None = option(None, help="Optimiser steps.", min=1, panel=_BUDGET)
    time: float | None = option(
        None, help="Time, over all sessions: 30s, 90m, 2h.  The first limit reached ends the run, with a checkpoint.",
        parse=parse_duration, metavar="DURATION", panel=_BUDGET,
    )  # fmt: skip
    patience: int | None = option(
        None, help="End after this many evaluations without a better score.", min=1, panel=_BUDGET
    )
    eval_every: int = option(1, help="Epochs between evaluations.", min=1, panel=_BUDGET)

    gpus: tuple[int, ...] | None = option(
        None, help="These GPUs, one rank each.", parse=parse_indices, metavar="0,1,...", panel=_DEVICES
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:1.", panel=_DEVICES)
    ranks: int = option(1, help="Processes that share a batch, with --device cpu.", min=1, panel=_DEVICES)
    batch: int | None = option(
        None, help="Images per optimiser step, over all ranks.  [default: 4, U-Net 8]", min=1, panel=_DEVICES
    )
    micro_batch: int | str | None = option(
        None,
        help="Images that go through the model at once, per rank; auto: as many as fit.  [default: all of its share]",
        parse=parse_count_or_auto, metavar="N|auto", panel=_DEVICES,
    )  # fmt: skip
    vram: int | None = option(
        None,
        help=f"GPU memory to use; --micro-batch auto keeps within it. {SIZE_UNITS}  [default: all free memory]",
        parse=parse_size, metavar="SIZE", panel=_DEVICES,
    )  # fmt: skip
    memory: Literal["normal", "low"] = option(
        "normal", help="low: compute activations of the backbone twice instead of keeping them.", panel=_DEVICES
    )
    compile: bool = option(False, help="Compile the convolutional part; the first steps take long.", panel=_DEVICES)
    precision: Precision = option("auto", help="auto: bf16 where the device computes in it, else fp32.", panel=_DEVICES)
    channels_last: bool = option(True, help="Keep tensors in channels-last order.", panel=_DEVICES)
    deterministic: bool = option(False, help="Refuse algorithms that differ between runs.", panel=_DEVICES)

    optimizer: OptimizerName | None = option(None, help="Optimiser.  [default: adamw]", panel=_RATES)
    lr: float | None = option(
        None, help="Peak learning rate.  [default: by optimiser, weights and batch]", min=0.0, panel=_RATES
    )
    lr_factors: tuple[tuple[str, float], ...] | None = option(
        None, help="Multiples of the learning rate by part: backbone=0.1, heads=2, or a layer's name.",
        parse=parse_factors, metavar="NAME=X,...", panel=_RATES,
    )  # fmt: skip
    weight_decay: float | None = option(None, help="Weight decay.  [default: 0.01, sgd 0.0001]", min=0.0, panel=_RATES)
    momentum: float = option(0.9, help="Momentum of sgd and rmsprop.", min=0.0, max=1.0, panel=_RATES)
    schedule: ScheduleName = option("cosine", help="How the learning rate goes down.", panel=_RATES)
    warmup: int | None = option(
        None, help="Steps of linear warm-up.  [default: a twentieth, at most 1000]", min=0, panel=_RATES
    )
    clip_grad: float | None = option(
        None, help="Largest gradient norm; 0 turns clipping off.  [default: 10]", min=0.0, panel=_RATES
    )
    ema: float | None = option(
        None, help="Decay of the averaged weights that are evaluated and saved; 0 turns it off.  [default: 0]",
        min=0.0, max=1.0, panel=_RATES,
    )  # fmt: skip

    size: int | None = option(
        None, help="Shorter side in pixels; U-Net: side of the crop.  [default: the pictures' own, at most 800]",
        min=32, panel=_DATA,
    )  # fmt: skip
    max_size: int | None = option(None, help="Longer side at most.  [default: 5/3 of --size]", min=32, panel=_DATA)
    augment: AugmentLevel = option("light", help="How much pictures are varied.", panel=_DATA)
    balance: bool = option(False, help="Show pictures with rare categories more often.", panel=_DATA)
    bad_pictures: Literal["stop", "skip"] = option(
        "stop",
        help="What a picture that cannot be loaded does: end the run, or leave its place to another, by name.",
        panel=_DATA,
    )
    workers: int | None = option(
        None, help="Processes that load images, per rank.  [default: 0 on a CPU, else up to 8]", min=0, panel=_DATA
    )
    seed: int = option(0, help="Seed of everything random.", min=0, panel=_DATA)

    name: str | None = option(None, help="Name of the run.  [default: the model and a number]", panel=_RUN)
    out: Path = option(Path("runs"), help="Folder of the runs.", panel=_RUN)
    tensorboard: bool = option(False, help="Write event files for TensorBoard into the run.", panel=_RUN)
    resume: str | None = option(
        None, help="Go on with this run, with its own config.  [alone: runs/latest]", metavar="[RUN]",
        bare="latest", panel=_RUN,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.name is not None and (not self.name or "/" in self.name or self.name in (".", "..", "latest")):
            raise ConfigError(f"--name {self.name!r}: a plain folder name other than 'latest' is needed")
        if self.resume is None:  # else these are only the changes to the run's own config
            self._check_together()

    def _check_together(self) -> None:
        if self.gpus is not None and self.device not in ("auto", "cuda"):
            raise ConfigError(f"--gpus and --device {self.device} contradict each other")
        if self.ranks > 1 and self.device != "cpu":
            raise ConfigError("--ranks goes with --device cpu", "on GPUs, name them: --gpus 0,1")
        if self.compile and self.memory == "low":
            raise ConfigError("--compile and --memory low do not go together", "leave one of them out")
        if self.dropout and self.model != "unet":
            raise ConfigError(f"--dropout is for --model unet; {self.model} has none")
        if self.size and self.max_size and self.max_size < self.size:
            raise ConfigError(f"--max-size {self.max_size} is less than --size {self.size}")
