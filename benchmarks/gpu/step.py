"""Mask R-CNN, ResNet-50 FPN, 800x1333: a step beside torchvision's AMP recipe; before that, equal losses in fp32."""

from pathlib import Path
from typing import Any

import torch
from data import NUM_CATEGORIES, draw_dataset
from results import Stage, stage
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision_recipe import load_batch, measure_recipe
from training import WARM_UP, train_run

from segkit.data.geometry import Framing
from segkit.data.records import Category
from segkit.models.card import ModelCard
from segkit.models.detector import DetectorSettings

TOLERANCE = 1e-4  # relative: convolutions may choose other algorithms
STEPS = {8: 10, 2: 20}  # by batch, after the warm-up


def compare_losses(dataset: Path, size: int, max_size: int, device: str) -> dict[str, Any]:
    """Losses of both models in fp32 with the same weights, picture and random state."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    classes = NUM_CATEGORIES + 1
    card = ModelCard(
        model="maskrcnn",
        backbone="resnet50",
        norm="batch",
        loss="ce+dice",
        settings=DetectorSettings(),
        framing=Framing("instances", size, max_size),
        categories=tuple(Category(number, str(number)) for number in range(1, classes)),
        uncovered="background",
    )
    ours: Any = card.build()
    theirs = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=classes, min_size=size, max_size=max_size,
        rpn_pre_nms_top_n_train=ours.rpn.pre_nms_top_n(),
    )  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    images, targets = load_batch(dataset, 1)
    found = []
    for model, picture in ((ours, images[0]), (theirs, images[0].float() / 255)):
        model.to(device).train()
        # Both draw regions at random; torchvision has drawn a size before.
        model.rpn.register_forward_pre_hook(lambda *_: torch.manual_seed(1) and None)
        losses = model([picture.to(device)], [{name: value.to(device) for name, value in targets[0].items()}])
        found.append({name: value.item() for name, value in losses.items()})
    torch.backends.cudnn.deterministic = False
    worst = max(abs(found[0][name] - value) / max(abs(value), 1e-6) for name, value in found[1].items())
    if worst > TOLERANCE:
        raise SystemExit(f"losses differ by {worst:.2e}: {found}")
    return {"segkit": found[0], "torchvision": found[1], "largest_relative_difference": worst}


def measure(running: Stage, instances: int, batch: int, size: int, max_size: int) -> None:
    """A step of both programs, one after the other, and how often segkit's waits for the device."""
    steps, warm_up = (STEPS[batch], WARM_UP) if not running.rehearse else (1, 1)
    dataset = running.folder / f"{instances}" / "coco.json"
    name = f"batch {batch}, {instances} instances"
    shared = {"backbone": "resnet50", "optimizer": "sgd", "size": size, "max_size": max_size, "device": running.device,
              "batch": batch, "lr": 1e-3}  # fmt: skip
    with running.case(f"segkit, {name}") as figures:
        figures |= train_run(dataset, running.folder / "runs", steps=warm_up + steps, **shared).figures()
    with running.case(f"torchvision, {name}") as figures:
        figures |= measure_recipe(
            dataset, batch=batch, size=size, max_size=max_size, steps=steps, device=running.device,
            warm_up=WARM_UP if not running.rehearse else 0,
        )  # fmt: skip
    if batch == 2:
        with running.case(f"segkit, synchronisations, {name}") as figures:
            run = train_run(dataset, running.folder / "runs", count_syncs=True, steps=1 + steps // 4, **shared)
            figures |= {"syncs_per_step": run.steps[-1]["syncs"], "sync_lines": dict(run.syncs.lines.most_common(20))}


def main() -> None:
    with stage("step") as running:
        tiny = draw_dataset(running.folder / "tiny", images=1, height=128, width=160, instances=4)
        with running.case("losses equal torchvision's in fp32") as figures:
            figures |= compare_losses(tiny, 128, 160, running.device)
        height, width = (800, 1333) if not running.rehearse else (96, 128)
        for instances in (8, 100) if not running.rehearse else (2,):
            folder = running.folder / f"{instances}"
            draw_dataset(folder, images=8, height=height, width=width, instances=instances)
            for batch in (8, 2) if not running.rehearse else (2,):
                measure(running, instances, batch, height, width)


if __name__ == "__main__":
    main()
