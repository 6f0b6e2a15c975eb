"""Options of ``segkit train``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from segkit.choices import (
    AugmentLevel,
    BackboneName,
    HeadsName,
    Initialisation,
    InstancesName,
    MaskHeadName,
    ModelName,
    NormName,
    OptimizerName,
    Precision,
    ScheduleName,
    VariantName,
)
from segkit.config.fields import MOST_PIXELS, MOST_PROCESSES, MOST_REGIONS, MOST_SEED, MOST_STEPS, argument, option
from segkit.config.parsers import (
    SIZE_UNITS,
    parse_count_or_auto,
    parse_counts,
    parse_duration,
    parse_factors,
    parse_indices,
    parse_loss,
    parse_names,
    parse_ratios,
    parse_size,
    parse_weights_or_auto,
)
from segkit.config.run_folder import RunFolderConfig
from segkit.config.train_checks import check_together
from segkit.errors import ConfigError

_MODEL, _DETECTOR, _UNET, _BUDGET, _DEVICES, _RATES, _DATA = (
    "Model", "Detector", "U-Net", "How long", "Devices and memory", "Optimisation", "Data"
)  # fmt: skip
_MOST_CHANNELS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(RunFolderConfig):
    """Options of a training run; ``segkit.training.defaults`` fills in what is None."""

    first = ("model", "weights", "time", "steps", "gpus", "batch", "vram", "size", "resume", "name")

    dataset: Path = argument(
        Path("dataset"), help="Dataset folder, or a COCO file.", metavar="DATASET", complete="dataset"
    )

    model: ModelName = option("maskrcnn", help="Model architecture.", panel=_MODEL)
    backbone: BackboneName | None = option(
        None,
        help="Backbone (feature extractor).  [default: resnet50 on a GPU with pretrained weights, else resnet18; "
        "where neither a network answers nor weights are cached, efficientnet_lite0 with those of the extra offline]",
        panel=_MODEL,
    )
    weights: str | None = option(
        None,
        help="Initial weights: coco, imagenet, none, a run, or a file; of rfdetr also a name on the Hugging Face hub, "
        "or a folder from there.  [default: the best for the model]",
        metavar="coco|imagenet|none|RUN|FILE", panel=_MODEL, complete=("coco", "imagenet", "none"),
    )  # fmt: skip
    init: Initialisation = option(
        "default",
        help="Random initialisation of layers without pretrained weights; default: each layer's own.",
        panel=_MODEL,
    )
    norm: NormName | None = option(
        None, help="Normalisation layers.  [default: frozen with pretrained weights, else batch]", panel=_MODEL
    )
    heads: HeadsName | None = option(
        None,
        help="Pyramid and heads of a detector: v1 or v2 of torchvision's; v2 has norms and more convolutions.  "
        "[default: v2 where the weights are of one, else v1]",
        panel=_MODEL,
    )
    freeze: tuple[str, ...] | None = option(
        None,
        help="Layers to freeze, by name prefix.  [default: stem with pretrained weights, else none]",
        parse=parse_names, metavar="none|stem|backbone|NAME,...", panel=_MODEL,
    )  # fmt: skip
    variant: VariantName | None = option(
        None, help="Size of rfdetr: nano, small or medium.  [default: of the weights, else nano]", panel=_DETECTOR
    )
    anchor_sizes: tuple[int, ...] | None = option(
        None,
        help="Sides of a detector's anchors, one for each level of the pyramid and one above.  "
        "[default: of the weights, else fitted to the boxes]",
        parse=parse_counts, metavar="32,64,...", panel=_DETECTOR,
    )  # fmt: skip
    anchor_ratios: tuple[float, ...] | None = option(
        None, help="Height by width of anchors.  [default: of the weights, else fitted to the boxes]",
        parse=parse_ratios, metavar="0.5,1,2", panel=_DETECTOR,
    )  # fmt: skip
    fpn_levels: tuple[int, ...] | None = option(
        None, help="Levels of the feature pyramid; level n has stride 2^n.  [default: 2,3,4,5]",
        parse=parse_counts, metavar="2,3,...", panel=_DETECTOR,
    )  # fmt: skip
    roi_size: int | None = option(
        None, help="Rows and columns that the box head gets of a region; the mask head gets twice as many.  "
        "[default: 7]", min=2, max=64, panel=_DETECTOR,
    )  # fmt: skip
    roi_sampling: int | None = option(
        None, help="Points in each direction that a cell of a region is the mean of.  [default: 2]",
        min=1, max=16, panel=_DETECTOR,
    )  # fmt: skip
    proposals: int | None = option(
        None, help="Proposals of an image in training.  [default: by the number of instances; at most 2000 on a CPU]",
        min=1, max=MOST_REGIONS, panel=_DETECTOR,
    )  # fmt: skip
    rois: int | None = option(
        None, help="Proposals of an image that the heads learn from; in condinst and solov2, masks.  "
        "[default: 512, on a CPU by the instances; masks 64]",
        min=1, max=MOST_REGIONS, panel=_DETECTOR,
    )  # fmt: skip
    detections: int | None = option(
        None, help="The most instances that are found in an image.  [default: 1.5 times the most in any image, 100 or "
        "more]",
        min=1, max=MOST_REGIONS, panel=_DETECTOR,
    )  # fmt: skip
    nms: float | None = option(
        None, help="Of two detections of a category that overlap by more than this IoU, the one with the lower score "
        "is dropped.  [default: 0.5; condinst 0.6, rfdetr 1 (none)]",
        min=0.01, max=1.0, panel=_DETECTOR,
    )  # fmt: skip
    mask_head: MaskHeadName | None = option(
        None, help="Mask head of Mask R-CNN: conv (masks of 28x28) or pointrend (finer, by uncertain points).  "
        "[default: of the weights, else conv]", panel=_DETECTOR,
    )  # fmt: skip
    mask_size: int | None = option(
        None, help="Rows and columns of a mask in its box: 56, 112, 224; of --mask-head pointrend, condinst, solov2, "
        "rfdetr.  "
        "[default: by the size of the instances]", min=56, max=224, panel=_DETECTOR,
    )  # fmt: skip
    instances: InstancesName | None = option(
        None,
        help="How a U-Net finds single instances in its label map. components: each connected region is one; distance: "
        "regions that touch are parted, by how far each pixel is from an edge.  [default: distance where instances of "
        "a category touch in the training split]",
        panel=_UNET,
    )
    channels: int | None = option(
        None,
        help="Channels of the images that a U-Net takes: 1 (grey), 3, or those of TIFF files.  [default: those of the "
        "training split's TIFF files where they are more than colours, else 3]",
        min=1, max=_MOST_CHANNELS, panel=_UNET,
    )  # fmt: skip
    loss: str = option(
        "ce+dice",
        help="Loss of the U-Net: ce (cross entropy), dice, focal, tversky, lovasz, cldice (thin lines), or a sum of "
        "them with factors.",
        parse=parse_loss, metavar="ce+0.5*dice", panel=_UNET,
    )  # fmt: skip
    class_weights: tuple[tuple[str, float], ...] | str | None = option(
        None,
        help="How much the pixels of categories, or of background, count in the U-Net's loss; auto: rare ones more "
        "(median frequency balancing).  [default: 1 for all]",
        parse=parse_weights_or_auto, metavar="auto|NAME=X,...", panel=_UNET,
    )  # fmt: skip
    label_smoothing: float = option(
        0.0, help="Share of the target that cross entropy spreads over all labels.", min=0.0, max=0.9, panel=_UNET
    )
    dropout: float = option(0.0, help="Dropout rate before the U-Net's last layer, by channel.", min=0.0, max=0.9,
                            panel=_UNET)  # fmt: skip

    epochs: int | None = option(
        None,
        help="Passes over the training images.  [default: if no limit is given, about 4000 steps; 800 on a CPU]",
        min=1,
        max=MOST_STEPS,
        panel=_BUDGET,
    )
    steps: int | None = option(None, help="Optimiser steps.", min=1, max=MOST_STEPS, panel=_BUDGET)
    time: float | None = option(
        None,
        help="Training time over all sessions: 30s, 90m, 2h. The first limit reached ends the run, with a checkpoint.",
        parse=parse_duration, metavar="DURATION", panel=_BUDGET,
    )  # fmt: skip
    patience: int | None = option(
        None, help="Stop after this many evaluations without improvement.", min=1, max=MOST_STEPS, panel=_BUDGET
    )
    eval_every: int | None = option(
        None,
        help="Epochs between evaluations.  [default: so that evaluations take at most a tenth of the time]",
        min=1,
        max=MOST_STEPS,
        panel=_BUDGET,
    )

    gpus: tuple[int, ...] | None = option(
        None, help="GPUs to train on, one process each.", parse=parse_indices, metavar="0,1,...", panel=_DEVICES
    )
    device: str = option(
        "auto", help="Device: auto, cpu, cuda, cuda:1.", complete=("auto", "cpu", "cuda"), panel=_DEVICES
    )
    ranks: int = option(
        1, help="Processes that share each batch; only with --device cpu.", min=1, max=MOST_PROCESSES, panel=_DEVICES
    )
    batch: int | None = option(
        None, help="Images per optimiser step, over all GPUs.  [default: 4; U-Net 8]", min=1, max=65536, panel=_DEVICES
    )
    micro_batch: int | str | None = option(
        None,
        help="Images per forward pass on each GPU; auto: as many as fit into memory.  "
        "[default: this GPU's whole part of the batch]",
        parse=parse_count_or_auto, metavar="N|auto", panel=_DEVICES,
    )  # fmt: skip
    vram: int | None = option(
        None,
        help=f"GPU memory to use, in validation too; --micro-batch auto keeps within it. {SIZE_UNITS}  "
        "[default: all free memory]",
        parse=parse_size, metavar="SIZE", panel=_DEVICES,
    )  # fmt: skip
    memory: Literal["normal", "low"] = option(
        "normal",
        help="low: recompute the backbone's activations in the backward pass instead of storing them.",
        panel=_DEVICES,
    )
    shard: bool = option(
        False,
        help="Spread parameters, gradients and optimiser state over the ranks (FSDP), for a model larger than a GPU.",
        panel=_DEVICES,
    )
    compile: bool = option(False, help="Compile the convolutional layers; the first steps are slow.", panel=_DEVICES)
    precision: Precision = option(
        "auto", help="Numbers to compute with; auto: bf16 if the device supports it, else fp32.", panel=_DEVICES
    )
    channels_last: bool = option(True, help="Use the channels-last memory format.", panel=_DEVICES)
    deterministic: bool = option(False, help="Use deterministic algorithms only.", panel=_DEVICES)

    optimizer: OptimizerName | None = option(None, help="Optimiser.  [default: adamw]", panel=_RATES)
    lr: float | None = option(
        None,
        help="Peak learning rate.  [default: from the model, the optimiser, the weights and the batch size]",
        min=0.0,
        panel=_RATES,
    )
    lr_factors: tuple[tuple[str, float], ...] | None = option(
        None, help="Learning rate multipliers: backbone=0.1,heads=2, or a layer's name.",
        parse=parse_factors, metavar="NAME=X,...", panel=_RATES,
    )  # fmt: skip
    weight_decay: float | None = option(None, help="Weight decay.  [default: 0.01, sgd 0.0001]", min=0.0, panel=_RATES)
    momentum: float = option(0.9, help="Momentum of sgd and rmsprop.", min=0.0, max=1.0, panel=_RATES)
    schedule: ScheduleName = option("cosine", help="Learning rate schedule after the warm-up.", panel=_RATES)
    lr_steps: tuple[int, ...] | None = option(
        None, help="Epochs after which --schedule step lowers the learning rate.  [default: at 2/3 and 8/9 of the run]",
        parse=parse_counts, metavar="3,6,...", panel=_RATES,
    )  # fmt: skip
    lr_gamma: float | None = option(
        None, help="Factor by which --schedule step lowers it.  [default: 0.1]", min=0.0, max=1.0, panel=_RATES,
    )  # fmt: skip
    warmup: int | None = option(
        None,
        help="Steps of linear warm-up.  [default: 5 % of all steps, at most 1000]",
        min=0,
        max=MOST_STEPS,
        panel=_RATES,
    )
    clip_grad: float | None = option(
        None, help="Maximum gradient norm; 0 turns clipping off.  [default: 10; rfdetr 0.1]", min=0.0, panel=_RATES
    )
    ema: float | None = option(
        None, help="Decay of the moving average of the weights, which is evaluated and saved; 0: none.  [default: 0]",
        min=0.0, max=1.0, panel=_RATES,
    )  # fmt: skip

    size: int | None = option(
        None, help="Shorter image side in pixels; U-Net: side of the crop; rfdetr: side of the square that an image is "
        "resized to.  [default: the images' own, at most 800; rfdetr: that of its variant]",
        min=32, max=MOST_PIXELS, panel=_DATA,
    )  # fmt: skip
    max_size: int | None = option(
        None, help="Longest side in pixels.  [default: 5/3 of --size]", min=32, max=MOST_PIXELS, panel=_DATA
    )
    augment: AugmentLevel = option("light", help="Strength of the data augmentation.", panel=_DATA)
    balance: bool | None = option(
        None,
        help="Show images with rare categories more often.  [default: if there are 50 images or more, and one category "
        "is in few of them: at most a quarter of what is usual]",
        panel=_DATA,
    )
    bad_pictures: Literal["stop", "skip"] = option(
        "stop",
        help="An image that cannot be loaded: stop the run, or skip it with a warning and use another.",
        panel=_DATA,
    )
    workers: int | None = option(
        None,
        help="Processes that load images, per GPU.  [default: 0 on a CPU, else up to 8]",
        min=0,
        max=MOST_PROCESSES,
        panel=_DATA,
    )
    seed: int = option(0, help="Random seed.", min=0, max=MOST_SEED, panel=_DATA)

    def _check(self) -> None:
        if self.name is not None and not _is_plain(self.name):
            raise ConfigError(f"--name {self.name!r}: a plain folder name other than 'latest' is needed")
        if self.resume is None:  # else these are only the changes to the run's own config
            check_together(self)

    def with_absolute_places(self) -> Self:
        """The same options with the places of data and teachers in full: a run may go on from another folder."""
        teacher = self.teacher.absolute() if self.teacher is not None else None
        unlabelled = tuple(str(Path(each).absolute()) for each in self.unlabelled) if self.unlabelled else None
        qat = self.qat.absolute() if self.qat is not None else None
        return replace(self, dataset=self.dataset.absolute(), teacher=teacher, unlabelled=unlabelled, qat=qat)


def _is_plain(name: str) -> bool:
    """Whether a run's folder can have a name, and a terminal and a list of runs can show it."""
    return name.isprintable() and name not in ("", ".", "..", "latest") and "/" not in name and len(name.encode()) < 256
