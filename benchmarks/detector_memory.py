"""What a training step of Mask R-CNN keeps for its backward pass, and what anchor matching takes, beside torchvision.

    python benchmarks/detector_memory.py [--size 448] [--instances 10] [--steps 3] [--matching 500]

ResNet-50 with an FPN, frozen norms, stem and first stage frozen, one image, equal weights, proposals and regions, one
thread. ``kept`` counts each storage once that autograd saves in forward, without parameters and buffers; time is that
of the processor for forward and backward, the median of the steps after the first. Anchor matching: the highest sum of
live tensors while the anchors of an image of 800 x 1333 are matched. A table in Markdown on stdout.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import FrozenBatchNorm2d, box_iou

from segkit.memory.measure.tracker import LiveTensors
from segkit.models.adapt import freeze, train_mode
from segkit.models.detector import Detector
from segkit.models.detector_settings import DetectorSettings
from segkit.models.matching import match_regions

_CLASSES = 3


def target_of(size: int, count: int) -> dict[str, torch.Tensor]:
    """Squares in a row of an image, with masks of the whole image for torchvision, and cut ones for segkit."""
    side = max(8, size // (count + 1))
    corners = torch.tensor([[i * size // (count + 1), i * 7 % (size - side)] for i in range(count)])
    boxes = torch.cat([corners, corners + side], dim=1)
    masks = torch.zeros(count, size, size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    cut = torch.ones(sum((y2 - y1) * (x2 - x1) for x1, y1, x2, y2 in boxes.tolist()), dtype=torch.uint8)
    labels = torch.ones(count, dtype=torch.int64)
    return {"boxes": boxes.float(), "labels": labels, "masks": masks, "box_masks": cut}


@contextmanager
def counted(module: nn.Module, kept: dict[int, int]) -> Iterator[None]:
    """Bytes that autograd keeps, by storage."""
    own = {value.untyped_storage().data_ptr() for value in (*module.parameters(), *module.buffers())}
    alive: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            alive.append(tensor)  # so that no other storage gets its place
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield


def steps(
    module: nn.Module,
    forward: Callable[[], dict[str, torch.Tensor]],
    precision: AbstractContextManager[Any],
    count: int,
) -> tuple[float, int]:
    """Median processor seconds of forward and backward, and the bytes that are kept between them."""
    kept: dict[int, int] = {}
    with counted(module, kept), precision:
        loss = sum(forward().values(), torch.zeros(()))
    if not count:
        return float("nan"), sum(kept.values())
    loss.backward()
    times = []
    for _ in range(count):
        module.zero_grad()
        torch.manual_seed(0)
        began = time.process_time()
        with precision:
            loss = sum(forward().values(), torch.zeros(()))
        loss.backward()
        times.append(time.process_time() - began)
    return statistics.median(times), sum(kept.values())


def print_steps(size: int, instances: int, count: int) -> None:
    """The table of training steps."""
    torch.manual_seed(0)
    ours = Detector(_CLASSES, "resnet50", "frozen", DetectorSettings(), masks=True)
    freeze(ours, ["stem"])
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=_CLASSES, min_size=size,
                                   max_size=size, rpn_pre_nms_top_n_train=4000)  # fmt: skip
    _freeze_norms(theirs)
    theirs.load_state_dict(ours.state_dict())
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_(dict(ours.named_parameters())[name].requires_grad)
    train_mode(ours).to(memory_format=torch.channels_last)
    theirs.train()
    image = torch.randint(0, 256, (3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = target_of(size, instances)
    cut = {name: value for name, value in whole.items() if name != "masks"}
    given = {name: value for name, value in whole.items() if name != "box_masks"}
    print("| | forward and backward, s | kept, MB |\n|---|---|---|")
    for name, module, forward in (
        ("torchvision", theirs, lambda: theirs([image.float() / 255], [given])),
        ("segkit", ours, lambda: ours([image], [cut])),
    ):
        for precision, context in (("fp32", nullcontext()), ("bf16", torch.autocast("cpu", torch.bfloat16))):
            seconds, kept = steps(module, forward, context, count)
            print(f"| {name} {precision} | {seconds:.2f} | {kept / 1e6:.0f} |", flush=True)


def _freeze_norms(model: nn.Module) -> None:
    """Put frozen norms in the place of batch norms, as torchvision does where it loads weights."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, FrozenBatchNorm2d(child.num_features))
    assert isinstance(model.roi_heads, RoIHeads)


def print_matching(instances: int) -> None:
    """The table of anchor matching."""
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(instances, 2, generator=random) * 700
    truth = torch.cat([corner, corner + 20 + torch.rand(instances, 2, generator=random) * 80], dim=1)
    places = torch.rand(268_569, 2, generator=random) * 800
    anchors = torch.cat([places, places + 16 + torch.rand(268_569, 2, generator=random) * 200], dim=1)
    matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
    print(f"\n| {instances} instances, 268,569 anchors | s | MB |\n|---|---|---|")
    found = []
    for name, match in (
        ("torchvision", lambda: matcher(box_iou(truth, anchors))),
        ("segkit", lambda: match_regions(truth, anchors, 0.3, 0.7, keep_best=True)),
    ):
        with LiveTensors() as tensors:
            began = time.process_time()
            found.append(match())
            seconds = time.process_time() - began
            peak = tensors.peak
        print(f"| {name} | {seconds:.2f} | {peak / 1e6:.0f} |", flush=True)
    assert torch.equal(*found), "the matches differ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=448, help="sides of the image")
    parser.add_argument("--instances", type=int, default=10, help="instances in it")
    parser.add_argument("--steps", type=int, default=3, help="steps that are timed; 0: none")
    parser.add_argument("--matching", type=int, default=500, help="instances to match anchors with; 0: do not")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print_steps(asked.size, asked.instances, asked.steps)
    if asked.matching:
        print_matching(asked.matching)


if __name__ == "__main__":
    main()
