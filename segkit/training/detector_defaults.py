"""What a detector is made with where the user did not say it: from the data, the weights and the device."""

from dataclasses import replace
from typing import Any

from segkit.choices import NormName
from segkit.config.train import TrainConfig
from segkit.data.geometry import Framing
from segkit.data.records import Dataset
from segkit.models.detector_settings import DetectorSettings
from segkit.models.weight_files import WeightFile
from segkit.training.defaults import DataFacts
from segkit.training.fit_anchors import boxes_of, fitted, shares

_SMALL_SIDE = 64  # below, torchvision's smallest anchor (32) is too coarse
_AS_OPTIONS = (
    "anchor_sizes", "anchor_ratios", "fpn_levels", "roi_size", "roi_sampling", "proposals", "rois", "detections", "nms",
)  # fmt: skip
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
    if config.model == "unet":
        return DetectorSettings(), ()
    made = source.settings if source is not None and source.settings is not None else DetectorSettings()
    settings = replace(
        made,
        test_proposals=0,
        aligned_masks=True,
        head_norm=_head_norm(config, source),
        **_regions(facts, on_cpu)
        | {name: value for name in _AS_OPTIONS if (value := getattr(config, name)) is not None},
    )
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


def _regions(facts: DataFacts, on_cpu: bool) -> dict[str, Any]:
    """Regions and detections by the number of instances."""
    detections = max(100, round(1.5 * facts.most_instances))
    if on_cpu:
        proposals = min(2000, max(100, 20 * facts.usual_instances))
        return {
            "proposals": proposals, "rois": min(512, max(32, 4 * facts.usual_instances)), "detections": detections
        }  # fmt: skip
    return {"proposals": max(2000, 10 * facts.usual_instances), "rois": 512, "detections": detections}


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
    if config.model == "unet":
        return config
    return replace(config, **{name: getattr(settings, name) for name in _AS_OPTIONS})


def _head_norm(config: TrainConfig, source: WeightFile | None) -> NormName | None:
    """The norm in pyramid and heads; frozen norms only where weights come with their statistics."""
    if config.heads != "v2":
        return None
    known = config.weights == "coco" or (source is not None and source.head_norm is not None)
    if config.norm == "frozen" and not known:
        return "batch"
    return source.head_norm if source is not None and source.head_norm == "group" else config.norm
