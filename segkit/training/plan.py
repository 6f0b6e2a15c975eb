"""What is fixed before the first step of a run: options, data, model card and limits."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from segkit.choices import ARCHITECTURES
from segkit.config.train import TrainConfig
from segkit.data.digest import Digest, digest_of
from segkit.data.label_maps import MOST_CATEGORIES
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.formats.dataset_folder import open_split, split_file
from segkit.formats.folds import open_fold
from segkit.loading.dataset import Pictures
from segkit.loading.sampler import epoch_length
from segkit.loading.unlabelled import UnlabelledPictures
from segkit.models.card import ModelCard
from segkit.models.packaged_weights import NO_NETWORK, PACKAGED
from segkit.models.weights import file_of
from segkit.runs.folder import check_name
from segkit.runtime.device import device_name, resolve_precision
from segkit.runtime.ranks import Ranks
from segkit.training.balance import balanced
from segkit.training.defaults import DataFacts, card_for, epochs_between_evaluations, resolve_defaults
from segkit.training.detector_defaults import settings_for, with_settings
from segkit.training.optim import learning_rate
from segkit.training.panoptic_defaults import panoptic_settings_for, things_of, with_panoptic_weight
from segkit.training.quantised_start import card_in_8_bits
from segkit.training.same_data import card_for_data
from segkit.training.sources import share_of, with_pruning, with_weight_file
from segkit.training.teachers.find import TeacherFile, find_teacher
from segkit.training.teachers.unlabelled_images import unlabelled_images
from segkit.training.transformer_defaults import with_network
from segkit.training.unet_defaults import unet_settings_for, with_unet_settings
from segkit.units import counted, format_duration

_NO_GUARD = "warning: without a validation split nobody notices if unlabelled pictures do harm; convert with --val 0.2"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed in a run.

    In ``config`` every option has the value that the run uses; ``data`` has the digest of each split. Evaluations are
    ``spaced_by_time`` too where the user did not say how often to evaluate. ``notes`` say in sentences what was chosen,
    and instead of what. ``teacher`` is the model that is distilled, ``unlabelled`` are images without annotations.
    """

    config: TrainConfig
    card: ModelCard
    train: Dataset
    val: Dataset | None
    dtype: torch.dtype
    total_steps: int | None
    batch: int
    lr: float
    run: Path
    repeats: npt.NDArray[np.float64] | None = None
    data: dict[str, Digest] = field(default_factory=dict)
    spaced_by_time: bool = False
    notes: tuple[str, ...] = ()
    teacher: TeacherFile | None = None
    unlabelled: Dataset | None = None

    @property
    def things(self) -> Dataset:
        """The training split without what is stuff for the model: what it learns instances from."""
        return self.train.without(self.card.stuff)

    @property
    def epoch_length(self) -> int:
        """Images in an epoch: all of them, some more than once where categories are balanced."""
        return epoch_length(len(self.train.images), self.repeats)

    def training_pictures(self) -> Pictures:
        """The training images, as this run loads them."""
        return Pictures(
            self.train,
            self.card.framing,
            self.card.levels,
            seed=self.config.seed,
            augment=self.config.augment,
            accept_boxes=not ARCHITECTURES[self.card.model].masks,
            distances=self.card.unet.instances == "distance",
            stuff=self.card.panoptic.stuff if self.card.panoptic is not None else None,
            replace_bad=self.config.bad_pictures == "skip",
        )

    def unlabelled_pictures(self) -> UnlabelledPictures:
        """The images without annotations, as this run loads them."""
        assert self.unlabelled is not None
        return UnlabelledPictures(
            self.unlabelled,
            self.card.framing,
            self.card.levels,
            seed=self.config.seed,
            augment=self.config.augment,
            accept_boxes=True,
            replace_bad=self.config.bad_pictures == "skip",
        )

    def done(self, step: int, seconds: float, reserve: float = 0.0) -> float:
        """The fraction of the run that is over, by steps or by time, whichever is more.

        Args:
            step: Steps done.
            seconds: Time spent.
            reserve: Time at the end in which no steps will be done.
        """
        by_steps = step / self.total_steps if self.total_steps else 0.0
        by_time = seconds / (self.config.time - reserve) if self.config.time else 0.0
        return min(1.0, max(by_steps, by_time))

    def epoch(self, step: int) -> int:
        """Whole epochs after a number of steps."""
        return step * self.batch // self.epoch_length

    def learning_rate(self, done: float, step: int) -> float:
        """The learning rate of a step; ``done`` is the fraction of the run that is over."""
        config, epoch = self.config, self.epoch(step)
        drops = sum(epoch >= each for each in config.lr_steps) if config.lr_steps else None
        gamma = 0.1 if config.lr_gamma is None else config.lr_gamma
        return learning_rate(config.schedule, self.lr, done, step, config.warmup, drops=drops, gamma=gamma)

    def evaluates_after(self, step: int) -> bool:
        """Whether a step ends an epoch after which the model is evaluated."""
        before, after, every = self.epoch(step - 1), self.epoch(step), self.config.eval_every or 1
        return after // every > before // every

    def describe(self, ranks: Ranks) -> str:
        """The run in one line."""
        limits = [f"{self.total_steps} steps"] if self.total_steps else []
        limits += [format_duration(self.config.time)] if self.config.time else []
        images = counted(len(self.train.images), "image", "images")
        categories = counted(len(self.card.categories), "category", "categories")
        return (
            f"{self.card.model} with {self.card.backbone}, {images} of {categories}, "
            f"size {self.card.framing.size}, batch {self.batch}, "
            f"{ranks.world_size} x {device_name(ranks.device)} in {str(self.dtype).removeprefix('torch.')}, "
            f"{' or '.join(limits)} -> {self.run}"
        )


def make_plan(config: TrainConfig, ranks: Ranks, card: ModelCard | None = None) -> Plan:
    """Read the data and choose open options; the folder of a new run is made later (``run_folder``).

    Args:
        config: The options as given, or those of the run to go on with.
        ranks: The processes that share the run.
        card: The model card of the checkpoint to go on with.

    Raises:
        SegkitError: Data, options and device do not go together.
    """
    if config.resume is None:
        check_name(config.out, config.name)
    training, val = read_data(config.dataset, config.fold)
    training = share_of(training, config)
    card = card_for_data(card, training) if card is not None else None
    plan = plan_without_folder(config, training, val, ranks.device, ranks.world_size, card=card)
    splits = (("train", training), ("val", val), ("unlabelled", plan.unlabelled))
    data = {name: digest_of(split) for name, split in splits if split is not None}
    return replace(plan, data=data, run=plan.run if config.resume is None else Path(config.resume))


def read_data(dataset: Path, fold: int | None = None) -> tuple[Dataset, Dataset | None]:
    """The training split, and the validation split if there is one with images.

    Args:
        dataset: A dataset folder, or a COCO file.
        fold: The fold of the training split that is for validation, in place of the validation split.

    Raises:
        SegkitError: A split cannot be read, or their categories differ.
    """
    if fold is not None:
        return open_fold(dataset, fold)
    training, file = open_split(dataset, "train"), split_file(dataset, "val")
    val = open_split(file, "train") if file is not None else None
    if val is None or not val.images:
        return training, None
    if {(c.id, c.name) for c in val.categories} != {(c.id, c.name) for c in training.categories}:
        raise ConfigError(f"{file}: its categories are not those of the training split", "convert both in one go")
    return training, val


def plan_without_folder(
    config: TrainConfig,
    training: Dataset,
    val: Dataset | None,
    device: torch.device,
    world_size: int,
    dtype: torch.dtype | None = None,
    card: ModelCard | None = None,
) -> Plan:
    """The plan of a run on a device, which need not exist here; its ``run`` is the folder of all runs.

    Args:
        config: The options as given.
        training: The training split.
        val: The validation split.
        device: Where it would run.
        world_size: How many ranks share a batch.
        dtype: The dtype for autocast; None: ask the device.
        card: The model card of the checkpoint to go on with; None: made from options and data.

    Raises:
        SegkitError: Data, options and device do not go together.
    """
    if card is None and config.qat is not None:
        assert config.weights is not None
        card = card_for_data(card_in_8_bits(Path(config.weights)), training)
    things = things_of(config, training)
    facts, config = DataFacts.of(things), with_panoptic_weight(with_weight_file(config))
    source = file_of(config.weights, config.model) if card is None else None
    filled = resolve_defaults(config, facts, device, world_size, source)
    batch, lr = filled.batch, filled.lr
    assert batch is not None
    assert lr is not None
    _check_annotations(filled, training, val)
    filled, repeats, rare = balanced(filled, training)
    length = epoch_length(len(training.images), repeats)
    num_val = len(val.images) if val is not None else 0
    every = filled.eval_every or epochs_between_evaluations(length, num_val, batch, device)
    limits = [filled.steps] if filled.steps else []
    if filled.epochs:
        limits.append(-(-filled.epochs * length // batch))
    notes: tuple[str, ...] = ()
    if card is None:
        settings, notes = settings_for(filled, facts, device.type == "cpu", things, source)
        filled, settings, network = with_network(filled, settings, (things, val), source)
        card, filled = card_for(filled, training, settings, source), with_settings(filled, settings)
        unet, more = unet_settings_for(filled, training)
        card, filled = replace(card, unet=unet, rfdetr=network), with_unet_settings(filled, unet, card.channels)
        card = replace(card, panoptic=panoptic_settings_for(filled, training))
        card = with_pruning(card, source, filled.weights)
        notes = (*notes, *more)
    if (
        config.resume is None
        and filled.weights == "imagenet"
        and config.weights is None
        and filled.backbone in PACKAGED
    ):
        notes = (NO_NETWORK.format(backbone=filled.backbone), *notes) if config.backbone is None else notes
    teacher = find_teacher(filled.teacher, card) if filled.teacher is not None else None
    unlabelled = None
    if filled.unlabelled:
        unlabelled, said = unlabelled_images(filled.unlabelled, training, val)
        notes = (*notes, *said, *(() if val is not None else (_NO_GUARD,)))
    return Plan(
        config=replace(filled, eval_every=every),
        card=card,
        train=training,
        val=val,
        dtype=dtype or resolve_precision(filled.precision, device),
        total_steps=min(limits) if limits else None,
        batch=batch,
        lr=lr,
        run=filled.out,
        repeats=repeats,
        spaced_by_time=config.eval_every is None,
        notes=(*notes, *rare) if teacher is None else (*notes, *rare, teacher.describe()),
        teacher=teacher,
        unlabelled=unlabelled,
    )


def _check_annotations(config: TrainConfig, training: Dataset, val: Dataset | None) -> None:
    """Check that the annotations are what the model learns from, and is scored by.

    Raises:
        ConfigError: They are not.
    """
    kind = ARCHITECTURES[config.model]
    if (kind.pixels or kind.stuff) and len(training.categories) > MOST_CATEGORIES:
        raise ConfigError(
            f"{config.dataset}: has {len(training.categories)} categories; label maps hold {MOST_CATEGORIES}",
            "use --model maskrcnn, or fewer categories: segkit convert --map",
        )
    annotations = training.annotations
    if all(annotation.iscrowd for annotation in annotations):
        raise ConfigError(
            f"{config.dataset}: every annotation is a crowd (iscrowd 1): nothing to learn",
            "are they single objects? make them instances: segkit convert SRC --crowds instances",
        )
    boxes = sum(annotation.segmentation is None for annotation in annotations)
    if boxes and kind.masks:
        raise ConfigError(
            f"{config.dataset}: {boxes} of its {len(annotations)} annotations are boxes without a segmentation",
            "boxes are enough for --model fasterrcnn; to learn the masks alone: segkit convert SRC --boxes crowd",
        )
    masks_missing = val is not None and val.annotations and not any(a.segmentation for a in val.annotations)
    if masks_missing and kind.masks:
        raise ConfigError(
            f"{config.dataset}: the annotations of its val split are boxes without a segmentation",
            "masks cannot be scored by them; boxes are enough for --model fasterrcnn",
        )
