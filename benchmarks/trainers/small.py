"""The network and the data of the small trainings, and the folder that they write to."""

import os
import tempfile
from pathlib import Path

import torch
from torch import nn


def out() -> Path:
    """The folder for what the trainer writes: that of the benchmark, which compares it, or a temporary one."""
    return Path(os.environ.get("TRAINER_OUT") or tempfile.mkdtemp())


def network(classes: int = 5) -> nn.Module:
    """Three blocks of convolutions and a linear layer."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inner, outer in ((3, 24), (24, 48), (48, 96)):
        layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes))


def images(batches: int = 8, batch: int = 8, size: int = 64) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of random images and labels."""
    torch.manual_seed(0)
    return [(torch.rand(batch, 3, size, size), torch.randint(0, 5, (batch,))) for _ in range(batches)]


class Flat(torch.utils.data.Dataset):
    """The same images one by one."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.data = [(x, int(y)) for xs, ys in images() for x, y in zip(xs, ys, strict=True)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.data[index % len(self.data)]
