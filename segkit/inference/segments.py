"""What a model of things and stuff predicts of an image, as segments in the pixels of the image."""

from collections.abc import Sequence

from segkit.data.panoptic_merge import LEAST_SCORE, ClassMap, Panoptic, class_map_in_image, merge_panoptic
from segkit.data.records import Result, in_label_order
from segkit.models.card import ModelCard
from segkit.models.tensors import ArrayPrediction, Prediction, as_array


def classes_of(
    prediction: Prediction | ArrayPrediction, card: ModelCard, model_size: tuple[int, int], size: tuple[int, int]
) -> ClassMap | None:
    """The class of every pixel of an image, as the semantic branch has it; None of a model without one.

    Args:
        prediction: What the model predicts.
        card: The model card.
        model_size: Height and width of the frame that the model got.
        size: Those of the image.
    """
    if "classes" not in prediction:
        return None
    stride = 2 ** card.settings.fpn_levels[0]
    return class_map_in_image(as_array(prediction["classes"]), stride, model_size, size)


def segments_of(
    results: Sequence[Result], classes: ClassMap, card: ModelCard, least_score: float = LEAST_SCORE
) -> Panoptic:
    """The segments of an image.

    Args:
        results: Its instances that are kept.
        classes: The class of every pixel.
        card: The model card.
        least_score: Instances of a lower score are no segments.
    """
    assert card.panoptic is not None
    ids = [category.id for category in in_label_order(card.categories)]
    stuff = {place: ids[label - 1] for place, label in enumerate(card.panoptic.classes, 1) if label}
    return merge_panoptic(results, classes, stuff, least_score)
