"""The model card: what is needed to build and use a model; every checkpoint and exported file holds it."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from segkit.choices import BackboneName, ModelName, NormName, UnetLoss
from segkit.data.geometry import Framing
from segkit.data.records import Category, Uncovered
from segkit.models.build import build_model
from segkit.models.detector import DetectorSettings


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Architecture, framing and categories of a trained model."""

    model: ModelName
    backbone: BackboneName
    norm: NormName
    loss: UnetLoss
    settings: DetectorSettings
    framing: Framing
    categories: tuple[Category, ...]
    uncovered: Uncovered

    def to_plain(self) -> dict[str, Any]:
        """Plain values, as ``weights_only`` loading and JSON allow."""
        return {
            "model": self.model,
            "backbone": self.backbone,
            "norm": self.norm,
            "loss": self.loss,
            "settings": {
                "proposals": self.settings.proposals,
                "rois": self.settings.rois,
                "detections": self.settings.detections,
                "anchor_sizes": list(self.settings.anchor_sizes),
            },
            "framing": {
                "kind": self.framing.kind,
                "size": self.framing.size,
                "max_size": self.framing.max_size,
            },
            "categories": [{"id": category.id, "name": category.name} for category in self.categories],
            "uncovered": self.uncovered,
        }

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> "ModelCard":
        """The inverse of ``to_plain``."""
        settings = dict(plain["settings"])
        settings["anchor_sizes"] = tuple(settings["anchor_sizes"])
        return ModelCard(
            model=plain["model"],
            backbone=plain["backbone"],
            norm=plain["norm"],
            loss=plain["loss"],
            settings=DetectorSettings(**settings),
            framing=Framing(**plain["framing"]),
            categories=tuple(Category(c["id"], c["name"]) for c in plain["categories"]),
            uncovered=plain["uncovered"],
        )

    def build(self) -> nn.Module:
        """The model, with random weights."""
        return build_model(
            self.model,
            num_classes=len(self.categories) + 1,
            backbone=self.backbone,
            norm=self.norm,
            loss=self.loss,
            settings=self.settings,
        )
