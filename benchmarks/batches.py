"""Predictions of images of one size and of many: padded together, by frame, and one by one.

    python benchmarks/batches.py [--models unet,maskrcnn] [--images 24] [--batch 8] [--rounds 5]

CPU seconds for an image on one thread, without decoding and files; the ways alternate. Models have random weights.

- together: every batch is padded to its longest sides. It was segkit's way before; predictions depend on the batch.
- by frame: ``BatchPredictor``, as ``predict`` calls it: images in the order of arrival.
- sorted: the same, as ``eval`` calls it: images of one frame are neighbours.
- one by one: ``--batch 1``.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.data.geometry import Framing, resized_dimensions
from segkit.data.records import Category
from segkit.inference.batches import BatchPredictor
from segkit.loading.sampler import evaluation_batches
from segkit.models.card import ModelCard
from segkit.models.detector import DetectorSettings
from segkit.models.sizes import padded_frame
from segkit.progress import SILENT

_SIDES = (96, 128, 160, 200, 256, 320)
Predict = Callable[[Sequence[Tensor]], object]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    for name, default in (("images", 24), ("batch", 8), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--models", default="unet,maskrcnn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | images | together, ms (range) | by frame | sorted | one by one |\n|---|---|---|---|---|---|")
    for name in options.models.split(","):
        module, framing = _model(name)
        for kind in ("one size", "mixed sizes"):
            images = _images(options.images, framing, mixed=kind == "mixed sizes")
            cells = _measure(module, images, options.batch, options.rounds)
            print(f"| {name} | {kind} | {' | '.join(cells)} |", flush=True)


def _model(name: str) -> tuple[torch.nn.Module, Framing]:
    torch.manual_seed(0)
    framing = Framing("semantic" if name == "unet" else "instances", 160, 267)
    settings = DetectorSettings(proposals=200)
    categories = (Category(1, "a"), Category(2, "b"))
    card = ModelCard(name, "resnet18", "batch", "ce+dice", settings, framing, categories, "background")  # type: ignore[arg-type]
    return card.build().eval(), framing


def _images(count: int, framing: Framing, *, mixed: bool) -> list[Tensor]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        height, width = (int(side) for side in rng.choice(_SIDES, 2)) if mixed else (192, 256)
        if framing.kind == "instances":
            height, width = resized_dimensions(height, width, framing.size, framing.max_size)
        images.append(torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8)))
    return images


def _measure(module: torch.nn.Module, images: list[Tensor], batch: int, rounds: int) -> list[str]:
    """Milliseconds for an image, by way: the median, and the range over the rounds."""
    predictor, single = (BatchPredictor(module, torch.device("cpu"), each, SILENT) for each in (batch, 1))
    arrival = [images[start : start + batch] for start in range(0, len(images), batch)]
    frames = [padded_frame(image.shape[1], image.shape[2]) for image in images]
    neighbours = [[images[key.image] for key in keys] for keys in evaluation_batches(frames, batch)]
    named: Predict = lambda part: predictor(part, [""] * len(part))  # noqa: E731
    ways: list[tuple[Predict, list[list[Tensor]]]] = [
        (module, arrival),
        (named, arrival),
        (named, neighbours),
        (lambda part: single(part, [""]), [[image] for image in images]),
    ]
    seconds: list[list[float]] = [[] for _ in ways]
    with torch.inference_mode():
        for _ in range(rounds):
            for taken, (predict, batches) in zip(seconds, ways, strict=True):
                began = time.process_time()
                for part in batches:
                    predict(part)
                taken.append((time.process_time() - began) / len(images) * 1000)
    return [f"{statistics.median(t):.1f} ({min(t):.1f} to {max(t):.1f})" for t in seconds]


if __name__ == "__main__":
    main()
