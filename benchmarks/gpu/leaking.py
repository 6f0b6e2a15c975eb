"""A training loop to watch: a small U-Net-like network, or torchvision's Mask R-CNN; with ``--leak`` it keeps losses.

    python leaking.py DEVICE [--model detector] [--leak] [--steps 40] [--times FILE]

``--times FILE`` receives the seconds of each step, so that the same loop can be timed with and without a profiler.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("device")
parser.add_argument("--model", choices=("conv", "detector"), default="conv")
parser.add_argument("--leak", action="store_true")
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--side", type=int, default=512)
parser.add_argument("--times", type=Path)
asked = parser.parse_args()
device, side = asked.device, asked.side

torch.manual_seed(0)
if asked.model == "conv":
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 2, 1),
    ).to(device)  # fmt: skip
else:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3, min_size=side, max_size=2 * side)
    model.to(device).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)


def loss_of_batch():
    """The loss of random pictures; a fresh batch each time, as a loader would give."""
    images = torch.rand(4, 3, side, side, device=device)
    if asked.model == "conv":
        return F.cross_entropy(model(images), torch.randint(0, 2, (4, side, side), device=device))
    masks = torch.zeros(1, side, side, dtype=torch.uint8, device=device)
    masks[0, 10 : side // 2, 10 : side // 2] = 1
    box = torch.tensor([[10.0, 10, side // 2, side // 2]], device=device)
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64, device=device), "masks": masks}
    return sum(model(list(images), [target] * 4).values())


kept, seconds = [], []
for _ in range(asked.steps):
    began = time.perf_counter()
    optimizer.zero_grad()
    loss = loss_of_batch()
    loss.backward()
    optimizer.step()
    if asked.leak:
        kept.append(torch.rand(2**18, device=device))  # the leak: 1 MiB a step
    loss.item()
    seconds.append(time.perf_counter() - began)
if asked.times:
    asked.times.write_text(json.dumps(seconds))
