"""What a detector is made with where the user did not say it: from the data, the weights and the device."""

from dataclasses import fields, replace
from typing import Any

from segkit.choices import ARCHITECTURES, NormName
from segkit.config.fields import MOST_REGIONS
from segkit.config.model_options import MASK_SIZES
from segkit.config.train import TrainConfig
from segkit.data.geometry import Framing
from segkit.data.records import Dataset
from segkit.errors import ConfigError
from segkit.models.detector_settings import DetectorSettings
from segkit.models.weight_files import WeightFile
from segkit.training.defaults import DataFacts
from segkit.training.fit_anchors import boxes_of, fitted, shares

_SMALL_SIDE = 64  # below, torchvision's smallest anchor (32) is too coarse
_PER_CELL = 2.0  # pixels of a typical instance that a cell of its mask may span
_MASKS = 64  # that a detector of one stage is taught in an image
_BEFORE_NMS = 2000  # anchors of a level, as torchvision has it


def settings_for(
    config: TrainConfig, facts: DataFacts, on_cpu: bool, training: Dataset, source: WeightFile | None = None
) -> tuple[DetectorSettings, tuple[str, ...]]:
    """A detector's numbers, and what was chosen in sentences.

    Enough for the most crowded image to be found, and for most of them to be learnt from. The model may find 1.5 times
    as many instances as the most crowded training image has, and at least 100, so that it does not limit the score.
    What it learns from in a step, on a CPU, is enough for three quarters of the images: a single crowded one would make
    every step slow, and of its many instances a sample is learnt from each time. Anchors are those that the weights
    were made with; where these are not a detector's, they are fitted to the boxes (``fit_anchors``).

    Args:
        config: Options with values (``resolve_defaults``); those that name such a number win.
        facts: About the training split.
        on_cpu: Whether it is trained on a CPU.
        training: The training split.
        source: What the file of ``--weights`` holds, if it names one.
    """
    if ARCHITECTURES[config.model].pixels:
        return DetectorSettings(), ()
    if not ARCHITECTURES[config.model].regions:
        return _one_stage(config, facts), ()
    made = source.settings if source is not None and source.settings is not None else DetectorSettings()
    settings = replace(
        made,
        test_proposals=0,
        aligned_masks=True,
        head_norm=_head_norm(config, source),
        **_regions(facts, on_cpu)
        | {name: value for name in _named(config) if (value := getattr(config, name)) is not None},
    )
    if "mask_head" not in ARCHITECTURES[config.model].options:
        settings = replace(settings, mask_head="conv")
    settings = replace(settings, mask_size=_mask_size(config, facts, settings))
    detections, crowd = settings.detections, facts.most_instances
    least = min(1000, 10 * crowd) if on_cpu else max(1000, 5 * crowd)
    before = max(200, min(2 * settings.proposals, _BEFORE_NMS), settings.proposals)
    settings = replace(settings, test_proposals=max(detections, least), before_nms=before)
    usual = DetectorSettings()
    notes = [
        f"{name} {getattr(usual, name)} -> {getattr(settings, name)}"
        for name in ("detections", "proposals", "rois")
        if getattr(settings, name) != getattr(usual, name) and getattr(config, name) is None
    ]
    said = [f"for at most {crowd} instances in an image, usually {facts.usual_instances}: {', '.join(notes)}"]
    settings, anchors = _with_anchors(settings, config, facts, training, source)
    return settings, (*(said if notes else ()), *anchors)


def _named(config: TrainConfig) -> list[str]:
    """The options of a model that name a number of its settings."""
    known = {each.name for each in fields(DetectorSettings)}
    return [name for name in ARCHITECTURES[config.model].options if name in known]


def _mask_size(config: TrainConfig, facts: DataFacts, settings: DetectorSettings) -> int:
    """Rows and columns of a mask: so many that a typical instance has two pixels to a cell, or fewer.

    Raises:
        ConfigError: They were given, and the mask head has another size.
    """
    options = ARCHITECTURES[config.model].options
    if "mask_size" not in options or ("mask_head" in options and settings.mask_head == "conv"):
        if config.mask_size:
            raise ConfigError("--mask-size is for --mask-head pointrend; masks of conv have 28 rows and columns")
        return 0
    assert config.size is not None
    side = facts.instance_side * config.size / facts.short_side
    return config.mask_size or next((size for size in MASK_SIZES if side <= _PER_CELL * size), MASK_SIZES[-1])


def _one_stage(config: TrainConfig, facts: DataFacts) -> DetectorSettings:
    """The numbers of a detector without anchors and regions."""
    kind = ARCHITECTURES[config.model]
    return DetectorSettings(
        rois=config.rois or _MASKS,
        detections=config.detections or _detections(facts),
        aligned_masks=True,
        nms=config.nms or kind.nms,
        mask_size=_mask_size(config, facts, DetectorSettings()),
    )


def _detections(facts: DataFacts) -> int:
    """How many instances may be found: no more than the option takes, by which a run goes on."""
    return min(max(100, round(1.5 * facts.most_instances)), MOST_REGIONS)


def _regions(facts: DataFacts, on_cpu: bool) -> dict[str, Any]:
    """Regions and detections by the number of instances."""
    detections = _detections(facts)
    if on_cpu:
        proposals = min(2000, max(100, 20 * facts.usual_instances))
        return {
            "proposals": proposals, "rois": min(512, max(32, 4 * facts.usual_instances)), "detections": detections
        }  # fmt: skip
    return {
        "proposals": min(max(2000, 10 * facts.usual_instances), MOST_REGIONS),
        "rois": 512,
        "detections": detections,
    }


def _with_anchors(
    settings: DetectorSettings, config: TrainConfig, facts: DataFacts, training: Dataset, source: WeightFile | None
) -> tuple[DetectorSettings, tuple[str, ...]]:
    """The settings with anchors, and what they were chosen by.

    Anchors that weights of a detector were made with are kept, except where they do not fit the levels.
    """
    assert config.size is not None
    assert config.max_size is not None
    levels = settings.fpn_levels
    of_weights = config.weights == "coco" or (source is not None and source.settings is not None)
    small = facts.instance_side * config.size / facts.short_side < _SMALL_SIDE and not of_weights
    sizes, ratios = settings.anchor_sizes, settings.anchor_ratios
    if config.anchor_sizes is None and (not of_weights or len(sizes) != len(levels) + 1):
        sizes = tuple((16 if small else 32) * 2**k for k in range(len(levels) + 1))
    known = (sizes, ratios)
    boxes = boxes_of(training, Framing("instances", config.size, config.max_size))
    best = known if of_weights else fitted(boxes, known, levels)
    chosen = (sizes if config.anchor_sizes else best[0], ratios if config.anchor_ratios else best[1])
    before, after = (shares(boxes, each, levels) for each in (known, chosen))
    now = f"boxes with an anchor of IoU 0.5: {after.half:.0%}, of 0.7: {after.most:.0%}"
    if chosen != known:
        now = (f"{_words(known)} -> {_words(chosen)}; boxes with an anchor of IoU 0.5: {before.half:.0%} -> "
               f"{after.half:.0%}, of 0.7: {before.most:.0%} -> {after.most:.0%}")  # fmt: skip
    return replace(settings, anchor_sizes=chosen[0], anchor_ratios=chosen[1]), (f"anchors: {now}",)


def _words(anchors: tuple[tuple[int, ...], tuple[float, ...]]) -> str:
    return " x ".join(",".join(f"{each:g}" for each in part) for part in anchors)


def with_settings(config: TrainConfig, settings: DetectorSettings) -> TrainConfig:
    """The options of a detector, with the values that it is made with."""
    values: dict[str, Any] = {name: getattr(settings, name) or None for name in _named(config)}
    return replace(config, **values)


def _head_norm(config: TrainConfig, source: WeightFile | None) -> NormName | None:
    """The norm in pyramid and heads; frozen norms only where weights come with their statistics."""
    if config.heads != "v2":
        return None
    known = config.weights == "coco" or (source is not None and source.head_norm is not None)
    if config.norm == "frozen" and not known:
        return "batch"
    return source.head_norm if source is not None and source.head_norm == "group" else config.norm
