"""Prune a model: a checkpoint with fewer channels or weights, to train a little more and to use as any other."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.config.export import ExportConfig
from segkit.errors import InputError
from segkit.exporting.channels import without_channels
from segkit.exporting.pictures import dataset_for, images_for
from segkit.exporting.score_check import ScorePair, score_of
from segkit.exporting.sparsity import without_weights
from segkit.progress import SILENT, Progress
from segkit.runs.checkpoint import load_model, save_checkpoint
from segkit.runs.find import find_checkpoint
from segkit.runtimes.files import format_of

_LEAST, _MOST, _SECONDS = 5, 50, 3.0  # predictions of each model, and how long they go on beyond the least


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model takes.

    Attributes:
        parameters: Their number.
        zeros: How many of them are zero.
        size: Of its tensors, in bytes.
        flops: Floating point operations of one image.
        p50: Milliseconds of one image, the median.
        p95: Likewise, the 95th percentile.
    """

    parameters: int
    zeros: int
    size: int
    flops: int
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class PruneSummary:
    """What was pruned.

    Attributes:
        source: The checkpoint.
        out: The pruned one.
        share: Of the channels, or of the weights, that was asked for.
        unstructured: Whether it is of the weights.
        image: Height and width of the image that was measured with.
        threads: Of the CPU, in measurements.
        before: What the source takes.
        after: What is left.
        score: The scores of both, where they were measured.
    """

    source: Path
    out: Path
    share: float
    unstructured: bool
    image: tuple[int, int]
    threads: int
    before: Cost
    after: Cost
    score: ScorePair | None

    def to_json(self) -> dict[str, Any]:
        """What ``export --prune --json`` prints."""
        return {
            "source": str(self.source),
            "out": str(self.out),
            "share": self.share,
            "unstructured": self.unstructured,
            "image": {"height": self.image[0], "width": self.image[1]},
            "threads": self.threads,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "score": None if self.score is None else asdict(self.score),
        }


def prune(config: ExportConfig, progress: Progress = SILENT) -> PruneSummary:
    """Write a checkpoint with fewer channels, or with weights that are zero.

    Raises:
        InputError: There is no such model, or it cannot be pruned.
        SegkitError: What is left is not what it should be.
    """
    assert config.prune is not None
    source = find_checkpoint(config.model)
    if format_of(source) is not None:
        raise InputError(f"{source}: is an exported file", "name the run, or its checkpoint")
    out = config.out or source.with_name("pruned.pt")
    if out.suffix != ".pt":
        raise InputError(f"--out {out}: a pruned model is a checkpoint", f"name it {out.stem}.pt")
    if out.exists() and out.resolve() == source.resolve():
        raise InputError(f"--out {out}: is the model itself", "choose another name")
    model, card = load_model(source, torch.device("cpu"))
    if card.quantised:
        raise InputError(f"{source}: computes as in 8 bits and cannot be pruned", "prune the run that it came from")
    pruned = without_weights if config.unstructured else without_channels
    smaller, own_card = pruned(model, card, config.prune)
    dataset = dataset_for(source, config.data)
    images, _ = images_for(dataset, card)
    image = images[0][1]
    progress.start("measuring", None)
    before, after = costs_of((model, smaller), image)
    progress.done()
    score = None
    if config.data is not None and dataset is not None:
        name, whole = score_of(cast(Any, model), card, dataset, progress)
        score = ScorePair(
            name, len(dataset.images), whole, score_of(cast(Any, smaller), own_card, dataset, progress)[1]
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out, {"card": own_card.to_plain(), "model": smaller.state_dict()})
    height, width = image.shape[-2:]
    return PruneSummary(
        source, out, config.prune, config.unstructured, (height, width), torch.get_num_threads(), before, after, score
    )


@torch.inference_mode()
def costs_of(models: Sequence[nn.Module], image: Tensor) -> list[Cost]:
    """What models take for an image, uint8 [C, H, W].

    They predict in turns, as other work on the machine slows down all alike then.
    """
    spent: list[list[float]] = [[] for _ in models]
    flops = []
    for model in models:
        with FlopCounterMode(display=False) as counter:
            model([image])
        flops.append(counter.get_total_flops())
    began = time.perf_counter()
    while len(spent[0]) < _LEAST or (time.perf_counter() - began < _SECONDS * len(models) and len(spent[0]) < _MOST):
        for model, own in zip(models, spent, strict=True):
            start = time.perf_counter()
            model([image])
            own.append(1000 * (time.perf_counter() - start))
    return [
        Cost(
            sum(each.numel() for each in model.parameters()),
            sum(int((each == 0).sum()) for each in model.parameters()),
            sum(each.numel() * each.element_size() for each in model.state_dict().values()),
            count,
            float(np.percentile(own, 50)),
            float(np.percentile(own, 95)),
        )
        for model, own, count in zip(models, spent, flops, strict=True)
    ]
