"""A training step as torchvision's detection reference does it with ``--amp``, on the pictures of a COCO file.

After https://github.com/pytorch/vision/tree/main/references/detection (``train.py``, ``engine.py``): SGD, autocast
with a GradScaler, pictures as fp32 and masks as bitmaps of the whole picture, the loss read at every step. Pictures
are loaded before the first step, in torchvision's favour.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import NUM_CATEGORIES
from PIL import Image
from pycocotools import mask as coco_mask
from results import gib, spread
from torchvision.models.detection import maskrcnn_resnet50_fpn
from training import Syncs, free_device_memory


def load_batch(dataset: Path, batch: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """The first pictures (uint8 [3, H, W]) and targets with bitmaps."""
    top = json.loads(dataset.read_text())
    images, targets = [], []
    for image in top["images"][:batch]:
        pixels = np.asarray(Image.open(dataset.parent / image["file_name"]).convert("RGB"))
        images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous())
        own = [each for each in top["annotations"] if each["image_id"] == image["id"]]
        rles = [coco_mask.frPyObjects(each["segmentation"], image["height"], image["width"])[0] for each in own]
        masks = torch.from_numpy(np.ascontiguousarray(coco_mask.decode(rles).transpose(2, 0, 1)))
        rows, columns = masks.any(2), masks.any(1)
        top_left = torch.stack([columns.int().argmax(1), rows.int().argmax(1)], 1)
        bottom_right = torch.stack(
            [columns.shape[1] - columns.flip(1).int().argmax(1), rows.shape[1] - rows.flip(1).int().argmax(1)], 1
        )
        labels = torch.tensor([each["category_id"] for each in own])
        targets.append({"boxes": torch.cat([top_left, bottom_right], 1).float(), "labels": labels, "masks": masks})
    return images, targets


def measure_recipe(
    dataset: Path, *, batch: int, size: int, max_size: int, steps: int, warm_up: int, device: str
) -> dict[str, Any]:
    """Time of a step and of its transfer, memory, and synchronisations of one more step.

    Args:
        dataset: A COCO file.
        batch: Pictures per step.
        size: Shorter side, pixels.
        max_size: Longer side at most, pixels.
        steps: Steps to measure.
        warm_up: Steps before them.
        device: cuda or cpu.
    """
    free_device_memory()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True  # PyTorch's defaults
    images, targets = load_batch(dataset, batch)
    images = [image.float() / 255 for image in images]
    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=NUM_CATEGORIES + 1, min_size=size, max_size=max_size
    ).to(device)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02 * batch / 16 / 10, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
    transfers: list[float] = []

    def step() -> None:
        began = time.perf_counter()
        here = [image.to(device) for image in images]
        there = [{name: value.to(device) for name, value in target.items()} for target in targets]
        transfers.append(time.perf_counter() - began)
        with torch.autocast(device, enabled=device == "cuda"):
            losses = sum(model(here, there).values())
        losses.item()
        optimizer.zero_grad()
        scaler.scale(losses).backward()
        scaler.step(optimizer)
        scaler.update()

    seconds = []
    for _ in range(warm_up + steps):
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    on_gpu = device == "cuda"
    figures = {
        "step_ms": spread([1000 * each for each in seconds[warm_up:]]),
        "transfer_ms": spread([1000 * each for each in transfers[warm_up:]]),
        "peak_gib": gib(torch.cuda.max_memory_allocated()) if on_gpu else None,
        "reserved_gib": gib(torch.cuda.max_memory_reserved()) if on_gpu else None,
    }
    syncs = Syncs()
    with syncs.counted():
        step()
    return figures | {"syncs_per_step": syncs.count, "sync_lines": dict(syncs.lines.most_common(12))}
