"""What a U-Net is made with: as asked, or by what is measured on the training split."""

from dataclasses import replace

import numpy as np

from segkit.choices import ARCHITECTURES
from segkit.config.train import TrainConfig
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.models.tensors import labels_of
from segkit.models.unet_settings import UnetSettings
from segkit.training.measure_touching import measure_touching

_BACKGROUND = "background"
_RARE = 3.0  # the auto weight from which a category is named; of CamVid's: poles, signs, pedestrians, bicyclists
_RAREST = 0.1, 10.0  # weights beyond these make training unstable


def unet_settings_for(config: TrainConfig, training: Dataset) -> tuple[UnetSettings, tuple[str, ...]]:
    """The settings of a U-Net, and what they were chosen by; of other models, those that nothing uses.

    Args:
        config: The options.
        training: The training split.

    Raises:
        ConfigError: ``--class-weights`` names a category that there is not.
    """
    if not ARCHITECTURES[config.model].pixels:
        unused = (
            f"warning: --loss {config.loss} has no effect: it is for U-Nets, a {config.model} has losses of its own"
        )
        return UnetSettings(), (unused,) if config.loss != TrainConfig().loss else ()
    weights, notes = _class_weights(config, training)
    instances = config.instances
    if instances is None:
        touching = measure_touching(training)
        instances = touching.best
        notes = (f"--instances {instances}: {touching}", *notes)
    return UnetSettings(instances, weights, config.label_smoothing), notes


def with_unet_settings(config: TrainConfig, settings: UnetSettings, channels: int) -> TrainConfig:
    """The options of a U-Net, with what was chosen."""
    return (
        config
        if not ARCHITECTURES[config.model].pixels
        else replace(config, instances=settings.instances, channels=channels)
    )


def _class_weights(config: TrainConfig, training: Dataset) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """The weight of each label, background first, and what is to be said of them."""
    names = [_BACKGROUND, *(category.name for category in training.categories)]
    if config.class_weights is None:
        several = len(training.categories) > 1
        return None, _rare(names, median_frequency_weights(training)) if several else ()
    if config.class_weights == "auto":
        weights = median_frequency_weights(training)
        said = ", ".join(f"{name}={weight:.3g}" for name, weight in zip(names, weights, strict=True))
        return weights, (f"--class-weights auto: {said}",)
    assert not isinstance(config.class_weights, str)
    given = dict(config.class_weights)
    if unknown := [name for name in given if name not in names]:
        raise ConfigError(
            f"--class-weights: {config.dataset} has no category {unknown[0]!r}", f"it has {', '.join(names)}"
        )
    last = {name: place for place, name in enumerate(names)}  # a category of this name is meant, not the rest
    return tuple(given.get(name, 1.0) if last[name] == place else 1.0 for place, name in enumerate(names)), ()


def _rare(names: list[str], weights: tuple[float, ...]) -> tuple[str, ...]:
    """Names the categories that a short training may never predict."""
    rare = [name for name, weight in zip(names[1:], weights[1:], strict=True) if weight >= _RARE]
    if not rare:
        return ()
    said = ", ".join(rare)
    return (f"few pixels have {said}: if they are not found, --class-weights auto lets rare categories count more",)


def median_frequency_weights(dataset: Dataset) -> tuple[float, ...]:
    """The median frequency by that of each label, background first, from 0.1 to 10.

    The frequency of a label is its pixels by those of the images where it occurs (Eigen and Fergus 2015,
    https://arxiv.org/abs/1411.4734, section 6.3.2). Labels that do not occur have the weight 1, and so has background
    where all that is not annotated is unlabelled.
    """
    labels, by_image = labels_of(dataset.categories), dataset.annotations_of()
    pixels, seen = np.zeros((2, len(labels) + 1))
    for image in dataset.images:
        own, whole = np.zeros(len(labels) + 1), float(image.height * image.width)
        covered = 0.0
        for annotation in by_image.get(image.id, ()):
            covered += annotation.area
            if not annotation.iscrowd:
                own[labels[annotation.category_id]] += annotation.area
        own[0] = max(whole - covered, 0.0) if dataset.uncovered == "background" else 0.0
        pixels += own
        seen += whole * (own > 0)
    occurs = seen > 0
    weights = np.ones(len(labels) + 1)
    frequencies = pixels[occurs] / seen[occurs]
    weights[occurs] = np.clip(np.median(frequencies) / frequencies, *_RAREST)
    return tuple(round(each, 4) for each in weights.tolist())
