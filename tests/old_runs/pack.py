"""Repeat a short pattern in every large tensor of a run's checkpoints, so that they pack into kilobytes.

python pack.py RUN...      with the segkit of the commit in README.md
"""

import sys
from pathlib import Path
from typing import Any

import torch
from segkit.checkpoint import save_checkpoint  # where it was then

PATTERN = 101


def repeat_pattern(value: Any) -> Any:
    """The same nest of values with the first values of each large tensor repeated over it."""
    if isinstance(value, dict):
        return type(value)((key, repeat_pattern(each)) for key, each in value.items())
    if isinstance(value, list):
        return [repeat_pattern(each) for each in value]
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.numel() <= 512:
        return value
    count = -(-value.numel() // PATTERN)
    repeated = value.flatten()[:PATTERN].repeat(count)[: value.numel()].reshape(value.shape).clone()
    last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
    return repeated.contiguous(memory_format=torch.channels_last) if last else repeated


for run in map(Path, sys.argv[1:]):
    for name in ("last.pt", "best.pt"):
        content = torch.load(run / name, weights_only=True)
        del content["version"]
        save_checkpoint(run / name, repeat_pattern(content))
