"""What a detector is made with where the user did not say it: from the data, the weights and the device."""

from segkit.choices import NormName
from segkit.config.train import TrainConfig
from segkit.models.detector_settings import DetectorSettings
from segkit.models.weight_files import WeightFile
from segkit.training.defaults import DataFacts

_SMALL_SIDE = 64  # below, torchvision's smallest anchor (32) is too coarse


def settings_for(
    config: TrainConfig, facts: DataFacts, on_cpu: bool, source: WeightFile | None = None
) -> DetectorSettings:
    """A detector's numbers: enough for the most crowded image to be found, and for most of them to be learnt from.

    The model may find 1.5 times as many instances as the most crowded training image has, and at least 100, so that
    it does not limit the score. What it learns from in a step, on a CPU, is enough for three quarters of the images: a
    single crowded one would make every step slow, and of its many instances a sample is learnt from each time. Anchors
    are those that the weights were made with; where these are not a detector's, torchvision's, or half as large where
    instances are small.

    Args:
        config: Options with values (``resolve_defaults``).
        facts: About the training split.
        on_cpu: Whether it is trained on a CPU.
        source: What the file of ``--weights`` holds, if it names one.
    """
    assert config.size is not None
    detections = max(100, round(1.5 * facts.most_instances))
    small = facts.instance_side * config.size / facts.short_side < _SMALL_SIDE and config.weights != "coco"
    anchors = (16, 32, 64, 128, 256) if small else (32, 64, 128, 256, 512)
    if source is not None and source.anchors is not None:
        anchors = source.anchors
    if on_cpu:
        proposals = min(2000, max(100, 20 * facts.usual_instances))
        rois = min(512, max(32, 4 * facts.usual_instances))
        in_evaluation = max(detections, min(1000, 10 * facts.most_instances))
    else:
        proposals, rois = max(2000, 10 * facts.usual_instances), 512
        in_evaluation = max(detections, 1000, 5 * facts.most_instances)
    return DetectorSettings(
        proposals, rois, detections, anchors, in_evaluation, aligned_masks=True, head_norm=_head_norm(config, source)
    )


def _head_norm(config: TrainConfig, source: WeightFile | None) -> NormName | None:
    """The norm in pyramid and heads; frozen norms only where weights come with their statistics."""
    if config.heads != "v2":
        return None
    known = config.weights == "coco" or (source is not None and source.head_norm is not None)
    if config.norm == "frozen" and not known:
        return "batch"
    return source.head_norm if source is not None and source.head_norm == "group" else config.norm
