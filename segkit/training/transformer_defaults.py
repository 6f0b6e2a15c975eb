"""What an RF-DETR is made with: its size, and whether the data is within what it can find."""

from collections import Counter
from dataclasses import replace

from segkit.choices import ARCHITECTURES, VariantName
from segkit.config.train import TrainConfig
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.models.detector_settings import DetectorSettings
from segkit.models.rfdetr_settings import VARIANTS, RFDETRSettings, transformers
from segkit.models.weight_files import WeightFile


def with_network(
    config: TrainConfig,
    settings: DetectorSettings,
    splits: tuple[Dataset, Dataset | None],
    source: WeightFile | None,
) -> tuple[TrainConfig, DetectorSettings, RFDETRSettings | None]:
    """Options, settings and numbers of a model with queries; of other models the first two as they are, and None.

    Args:
        config: Options with values (``segkit.training.defaults``).
        settings: What detectors have in common.
        splits: The training split, and the validation split if there is one.
        source: What ``--weights`` holds, if it names a file, a folder or the hub.

    Raises:
        ConfigError: Its size, the images' size or the data do not fit.
        InputError: transformers is not installed: said here, before anything is written.
    """
    if not ARCHITECTURES[config.model].queries:
        return config, settings, None
    transformers()
    network = network_for(config, source)
    assert config.size is not None
    _check_size(config.size, network)
    _check_queries(config, splits, network)
    settings = replace(settings, detections=config.detections or network.num_queries)
    return replace(config, variant=variant_of(network)), settings, network


def network_for(config: TrainConfig, source: WeightFile | None) -> RFDETRSettings:
    """The numbers of the network: those of the weights, or of the variant.

    Raises:
        ConfigError: The weights are of another variant than the one that was asked for.
    """
    if source is None or source.rfdetr is None:
        return VARIANTS[config.variant or "nano"]
    if config.variant is not None and VARIANTS[config.variant] != source.rfdetr:
        known = variant_of(source.rfdetr)
        raise ConfigError(
            f"--variant {config.variant}: {config.weights} is of another size",
            f"use --variant {known}" if known else "leave --variant out",
        )
    return source.rfdetr


def variant_of(network: RFDETRSettings) -> VariantName | None:
    """The published size that a network has, if it has one."""
    return next((name for name, each in VARIANTS.items() if each == network), None)


def _check_size(size: int, network: RFDETRSettings) -> None:
    """Check that an image is cut into whole patches and windows, and into enough of them.

    Raises:
        ConfigError: It is not.
    """
    least = network.least_size()
    nearest = max(least, round(size / network.multiple) * network.multiple)
    if size % network.multiple:
        raise ConfigError(
            f"--size {size}: must be a multiple of {network.multiple}: patches of {network.patch_size} pixels in "
            f"{network.num_windows} x {network.num_windows} windows",
            f"use {nearest}",
        )
    if size < least:
        raise ConfigError(
            f"--size {size}: gives {(size // network.patch_size) ** 2} patches for {network.num_queries} queries",
            f"use {least} or more",
        )


def _check_queries(config: TrainConfig, splits: tuple[Dataset, Dataset | None], network: RFDETRSettings) -> None:
    """Check that no image has more instances than the model can find.

    Raises:
        ConfigError: One has, or more detections are asked for.
    """
    most = network.num_queries
    hints = [f"--variant {name} ({each.num_queries})" for name, each in VARIANTS.items() if each.num_queries > most][:1]
    for split in splits:
        counts = Counter(each.image_id for each in split.annotations if not each.iscrowd) if split is not None else {}
        image, count = max(counts.items(), key=lambda pair: pair[1], default=(0, 0))
        if split is not None and count > most:
            name = next(each.file_name for each in split.images if each.id == image)
            fits = [hint for hint in hints if count <= VARIANTS["medium"].num_queries]
            raise ConfigError(
                f"{config.dataset}: {name} has {count} instances, and this rfdetr finds at most {most} in an image",
                " or ".join([*fits, "--model maskrcnn", "images cut into parts"]),
            )
    if config.detections is not None and config.detections > most:
        raise ConfigError(f"--detections {config.detections}: this rfdetr finds at most {most}", f"use {most}")
