"""What a file says of itself: what it takes and gives, its thresholds, and what its weights descend from."""

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segkit.choices import ARCHITECTURES
from segkit.config.fields import read_toml
from segkit.config.predict import DEFAULT_SCORE
from segkit.exporting.graphs import Graph
from segkit.models.card import ModelCard
from segkit.models.detector import Detector
from segkit.models.input_channels import statistics
from segkit.models.packaged_weights import LICENCE, PACKAGED
from segkit.models.rfdetr_weights import LICENCE as LICENCE_OF_RFDETR
from segkit.runs.folder import CONFIG
from segkit.runtimes.exported import ABOUT_KEY, CARD_KEY

_RGB = 3
_TORCHVISION = "PyTorch's torchvision, BSD 3-Clause; the terms of {} may hold as well"


def metadata_of(source: Path, card: ModelCard, graph: Graph, precision: str) -> dict[str, str]:
    """The metadata of an exported file: JSON texts by key.

    Args:
        source: The checkpoint.
        card: Its model card.
        graph: What is written.
        precision: Of the weights in the file.
    """
    about: dict[str, Any] = {
        "segkit": _version(),
        "model": card.model,
        "precision": precision,
        "input": graph.input,
        "outputs": graph.outputs,
        "categories": {label: asdict(each) for label, each in enumerate(card.categories, 1)},
        "preprocessing": _preprocessing(card),
        "thresholds": _thresholds(card, graph),
        "weights": _weights(source, card),
    }
    return {CARD_KEY: json.dumps(card.to_plain()), ABOUT_KEY: json.dumps(about)}


def _version() -> str:
    try:
        return version("segkit")
    except PackageNotFoundError:
        return "unknown"


def _preprocessing(card: ModelCard) -> dict[str, Any]:
    """How an image becomes the input of the graph."""
    framing = card.framing
    mean, std = statistics(card.channels)
    resize = (
        "none"
        if framing.kind == "semantic"
        else f"the shorter side to {framing.size}, but the longer one to at most {framing.max_size}"
    )
    square = ARCHITECTURES[card.model].queries
    frame = {"resize_to": [framing.size, framing.size]} if square else {"pad_to_multiple_of": 32}
    return {
        "resize": resize,
        "shorter_side": None if framing.kind == "semantic" else framing.size,
        "longest_side": None if framing.kind == "semantic" else framing.max_size,
        "channels": "RGB" if card.channels == _RGB else f"{card.channels}, in the order of the file",
        "layout": "batch, channel, row, column",
        "type": "uint8",
        "more_than_8_bits": None if card.levels is None else asdict(card.levels),
        "in_the_graph": {"divide_by": 255, "mean": list(mean), "std": list(std)} | frame,
    }


def _thresholds(card: ModelCard, graph: Graph) -> dict[str, Any]:
    """What is left out: in the graph, and by ``predict`` where nothing else is said."""
    out: dict[str, Any] = {"predict_score": DEFAULT_SCORE}
    model = getattr(graph.module, "model", None)
    if isinstance(model, Detector):
        heads = model.roi_heads
        out |= {"score": heads.score_thresh, "nms_iou": heads.nms_thresh, "most_instances": heads.detections_per_img}
    return out if ARCHITECTURES[card.model].pixels else out | {"mask_probability": 0.5}


def _weights(source: Path, card: ModelCard) -> dict[str, str]:
    """What training started from, and under which licence that is; as far as the run says it."""
    config = source.parent / CONFIG
    values = read_toml(config) if config.is_file() else {}
    start = str(values.get("weights", "")) if values else ""
    match start:
        case "none":
            licence = "none: training started from random weights"
        case "coco" if ARCHITECTURES[card.model].queries:
            licence = f"Roboflow's RF-DETR-Seg, {LICENCE_OF_RFDETR}; the terms of COCO may hold as well"
        case "coco":
            licence = _TORCHVISION.format("COCO")
        case "imagenet" if card.backbone in PACKAGED:
            licence = LICENCE
        case "imagenet":
            licence = _TORCHVISION.format("ImageNet")
        case "":
            start, licence = "unknown", "unknown: the file is in no run's folder"
        case _:
            licence = f"that of the file {Path(start).name}"
    return {"from": Path(start).name, "licence": licence}
