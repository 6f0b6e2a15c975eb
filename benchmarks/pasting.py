"""What follows the network: 100 masks of 28 x 28 as run lengths, beside torchvision's paste and pycocotools' encoding.

    python benchmarks/pasting.py [--instances 100] [--sizes 480x640,1500x2000,3000x4000] [--runs 3]

Both get the same boxes and mask probabilities, on one thread, in turns. Before anything is timed, their run lengths are
compared: all must be identical, else the script ends. Processor time is what is compared (user and system, which other
work on the machine disturbs less); elapsed time is printed beside it. torchvision's recipe keeps the masks of all
instances in whole images of fp32, so 3000x4000 with 100 instances takes about 10 GB.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pycocotools.mask
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segkit.data.records import Category, Image
from segkit.models.tensors import prediction_to_results

CATEGORIES = (Category(1, "a"),)


def draw(count: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """Boxes of 4 % to 40 % of the sides, some over the border, with smooth blobs in them, as a network gives them."""
    random = torch.Generator().manual_seed(0)
    sides = torch.rand(count, 2, generator=random) * 0.36 + 0.04
    corner = torch.rand(count, 2, generator=random) * (1.05 - sides) - 0.02
    frame = torch.tensor([width, height] * 2, dtype=torch.float32)
    boxes = (torch.cat([corner, corner + sides], dim=1) * frame).clamp(min=0).minimum(frame)
    coarse = torch.rand(count, 1, 7, 7, generator=random)
    fine = torch.nn.functional.interpolate(coarse, size=(28, 28), mode="bicubic", align_corners=False)
    return {
        "boxes": boxes,
        "labels": torch.ones(count, dtype=torch.int64),
        "scores": torch.rand(count, generator=random).sort(descending=True).values,
        "masks": fine[:, 0].clamp(0, 1),
    }


def as_torchvision(prediction: dict[str, torch.Tensor], height: int, width: int) -> list[dict[str, Any]]:
    """torchvision's own recipe: paste into whole images, threshold, encode."""
    pasted = paste_masks_in_image(prediction["masks"][:, None], prediction["boxes"], (height, width))
    bitmaps = (pasted[:, 0] > 0.5).numpy().astype(np.uint8)
    return [pycocotools.mask.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps]


def as_segkit(prediction: dict[str, torch.Tensor], height: int, width: int) -> list[dict[str, Any]]:
    """What ``segkit predict`` does."""
    results = prediction_to_results(
        prediction,
        Image(1, "a", height, width), height, width, CATEGORIES, aligned_masks=False,
    )  # fmt: skip
    return [result.segmentation for result in results]


def seconds(work: Callable[[], object], runs: int) -> list[tuple[float, float]]:
    """Processor and elapsed time of each run."""
    found = []
    for _ in range(runs):
        began = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    return found


def in_ms(times: list[tuple[float, float]]) -> dict[str, list[float]]:
    """Median, least and most."""
    return {
        name: [round(1000 * f(each), 2) for f in (statistics.median, min, max)]
        for name, each in zip(("cpu", "elapsed"), zip(*times, strict=True), strict=True)
    }


def text_of(counts: str | bytes) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--sizes", default="480x640,1500x2000,3000x4000")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.sizes.split(","):
        height, width = (int(side) for side in size.split("x"))
        prediction = draw(options.instances, height, width)
        ours = as_segkit(prediction, height, width)
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        theirs = as_torchvision(prediction, height, width)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident
        same = sum(text_of(a["counts"]) == text_of(b["counts"]) for a, b in zip(ours, theirs, strict=True))
        empty = sum(not pycocotools.mask.area(each).item() for each in theirs)
        if same != options.instances or empty == options.instances:
            raise SystemExit(f"{size}: {same} of {options.instances} run lengths are identical")
        fast, slow = [], []
        for _ in range(options.runs):
            fast += seconds(lambda p=prediction, h=height, w=width: as_segkit(p, h, w), 5)
            slow += seconds(lambda p=prediction, h=height, w=width: as_torchvision(p, h, w), 1)
        ours_ms, theirs_ms = in_ms(fast), in_ms(slow)
        line = {
            "size": size, "instances": options.instances, "identical": same, "empty": empty,
            "segkit_ms": ours_ms, "torchvision_ms": theirs_ms,
            "times": round(theirs_ms["cpu"][0] / ours_ms["cpu"][0], 1),
            "times_elapsed": round(theirs_ms["elapsed"][0] / ours_ms["elapsed"][0], 1),
            "more_memory_of_torchvision_mib": round(more / 1024),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
