"""The model card: what is needed to build and use a model; every checkpoint and exported file holds it.

It is read without PyTorch, as exported files are run without it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from segkit.choices import ARCHITECTURES, BackboneName, ModelName, NormName
from segkit.data.depth import Levels
from segkit.data.geometry import Framing
from segkit.data.records import Category, Uncovered, in_label_order
from segkit.errors import InputError
from segkit.models.detector_settings import DetectorSettings
from segkit.models.panoptic_settings import PanopticSettings
from segkit.models.rfdetr_settings import RFDETRSettings
from segkit.models.sizes import DEFAULT_EPS, Width
from segkit.models.unet_settings import UnetSettings

if TYPE_CHECKING:
    from torch import nn

_MOST_PIXELS, _MOST = 1 << 16, 1 << 24  # of a side; regions and the like: more than training chooses
_NEWER = ("widths", "rfdetr", "sparse", "panoptic", "quantised")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Architecture, framing and categories of a trained model.

    ``levels`` say what values of more than 8 bits become; cards of an older segkit have none, and each grey image is
    stretched by itself. ``norm_eps`` is what the norms of the feature extractor add to variances: weights need the one
    that they were made with. ``unet`` is what a U-Net is made with; the U-Nets of older cards are without. ``widths``
    are those of layers that were pruned; in a ``sparse`` model single weights were, which are zero and stay so.
    ``rfdetr`` is what an RF-DETR is made with; other models have none. ``panoptic`` says what is stuff, of a model that
    finds some. A ``quantised`` model computes as its file in 8 bits does.
    """

    model: ModelName
    backbone: BackboneName
    norm: NormName
    loss: str
    settings: DetectorSettings
    framing: Framing
    categories: tuple[Category, ...]
    uncovered: Uncovered
    levels: Levels | None = None
    norm_eps: float = DEFAULT_EPS
    unet: UnetSettings = UnetSettings()
    widths: tuple[Width, ...] = ()
    rfdetr: RFDETRSettings | None = None
    sparse: bool = False
    panoptic: PanopticSettings | None = None
    quantised: bool = False

    @property
    def channels(self) -> int:
        """The channels of the images that the model takes."""
        return 3 if self.levels is None else self.levels.num_channels

    @property
    def stuff(self) -> frozenset[int]:
        """The ids of the categories that are stuff: the model finds regions of them, and no instances."""
        labels = self.panoptic.stuff if self.panoptic is not None else ()
        return frozenset(category.id for label, category in enumerate(in_label_order(self.categories), 1)
                         if label in labels)  # fmt: skip

    def to_plain(self) -> dict[str, Any]:
        """Plain values, as ``weights_only`` loading and JSON allow."""
        plain = asdict(self)
        for part in ("settings", "unet", *(("rfdetr",) if self.rfdetr is not None else ())):
            plain[part] |= {name: list(value) for name, value in plain[part].items() if isinstance(value, tuple)}
        if plain["panoptic"] is not None:
            plain["panoptic"]["stuff"] = list(plain["panoptic"]["stuff"])
        plain |= {"widths": [list(each) for each in self.widths], "categories": list(plain["categories"])}
        # Without these as before they were known, so that an older segkit reads the cards of other models.
        return {name: value for name, value in plain.items() if value or name not in _NEWER}

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> "ModelCard":
        """The inverse of ``to_plain``."""
        parts: dict[str, Any] = {
            "settings": DetectorSettings(**_with_tuples(plain["settings"])),
            "unet": UnetSettings(**_with_tuples(plain.get("unet", {}))),
            "framing": Framing(**plain["framing"]),
            "categories": _categories(plain["categories"]),
            "widths": tuple(Width(str(layer), int(out), int(into)) for layer, out, into in plain.get("widths", ())),
        }
        if (network := plain.get("rfdetr")) is not None:
            parts["rfdetr"] = RFDETRSettings(**_with_tuples(network))
        if (panoptic := plain.get("panoptic")) is not None:
            parts["panoptic"] = PanopticSettings(**_with_tuples(panoptic))
        if (levels := plain.get("levels")) is not None:
            channels = levels.get("channels")
            pairs = {kind: tuple(pair) if pair else None for kind, pair in levels.items() if kind != "channels"}
            parts["levels"] = Levels(**pairs, channels=channels and tuple((low, high) for low, high in channels))
        return ModelCard(**plain | parts)

    def build(self) -> "nn.Module":
        """The model, with random weights; see ``segkit.models.build``."""
        from segkit.models.build import build_model  # noqa: PLC0415 -- a card is read without PyTorch

        return build_model(self)


def _with_tuples(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def _categories(plain: Sequence[dict[str, Any]]) -> tuple[Category, ...]:
    """The categories of a card, in its order.

    Older cards have numbers as text for ids, where their COCO file had: today they are read as numbers. Where the order
    of the numbers is another, they stay as they are, as labels follow the order.
    """
    ids = [each["id"] for each in plain]
    if all(isinstance(each, str) and each.isascii() and each.isdecimal() for each in ids):
        numbers = [int(each) for each in ids]
        if numbers == sorted(set(numbers)):
            ids = numbers
    return tuple(Category(**each | {"id": number}) for each, number in zip(plain, ids, strict=True))


def _check(card: ModelCard) -> None:
    """Check the types of all values, and the numbers that decide how much memory is taken.

    Raises:
        ValueError: One is not of its type, or out of bounds.
        msgspec.ValidationError: Likewise.
    """
    msgspec.convert(asdict(replace(card, categories=())), ModelCard)
    for each in card.categories:  # ids are texts where those of a COCO file were
        if not isinstance(each.name, str) or isinstance(each.id, bool) or not isinstance(each.id, int | str):
            raise ValueError("a category")
    numbers = [value for part in (card.settings, card.rfdetr) if part is not None for value in asdict(part).values()]
    for value in chain.from_iterable(each if isinstance(each, tuple) else (each,) for each in numbers):
        if isinstance(value, int | float) and not 0 <= value <= _MOST:
            raise ValueError("a number")
    if not card.categories or ARCHITECTURES[card.model].pixels != (card.framing.kind == "semantic"):
        raise ValueError("no category, or another model")
    if not (0 < card.framing.size <= _MOST_PIXELS and 0 < card.framing.max_size <= _MOST_PIXELS and card.channels):
        raise ValueError("a size")


def read_card(plain: Any, path: Path) -> ModelCard:
    """The model card in a file.

    Args:
        plain: As ``to_plain`` gave it, or what the file has in its place.
        path: The file.

    Raises:
        InputError: It is no model card, or has values that no model has: files come from others, too.
    """
    try:
        card = ModelCard.from_plain(plain)
        _check(card)
        return card
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError) as error:
        raise InputError(f"{path}: its model card cannot be read", "was it written by a newer segkit?") from error
