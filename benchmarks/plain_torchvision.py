"""A default run beside the script that everybody writes first: torchvision's detection tutorial, at equal CPU time.

    python benchmarks/plain_torchvision.py DATASET... [--steps 40] [--seeds 0,1,2] [--images N] [--out FOLDER]
    python benchmarks/plain_torchvision.py DATASET... --seconds 900        # steps for about so much CPU time a run
    python benchmarks/plain_torchvision.py DATASET... --seconds 120 --size 160  # smaller images, the same for both

DATASET is a folder that ``segkit convert`` wrote, with a validation split. For each set and seed:

1. ``segkit train DATASET --weights none --steps N --seed S`` with all other options at their defaults, on one thread.
   Its CPU time (user and system, evaluations and checkpoints included) is measured.
2. The tutorial's recipe in a process of its own, on one thread, until it has used as much CPU time for training alone:
   torchvision's Mask R-CNN with the same backbone, also from random weights, and the same image size; all else as
   torchvision and the tutorial have it (SGD 0.005, momentum 0.9, weight decay 5e-4, batch 2, horizontal flips, warm-up
   in the first epoch, 2000 proposals, 512 regions). It may find as many instances as segkit's.

``--size`` makes both cheaper alike: segkit gets it as its option, the plain script takes it from segkit's model card.
Neither recipe is changed by it, but a run of two minutes says less about one of an hour.

Both are scored by the same code on the validation split: mask AP with as many instances as there are. A line for each
run, then a line for each set.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from segkit.data.masks import mask_to_rle, rle_bbox, rle_to_mask, to_rle
from segkit.data.records import Annotation, Dataset, Image, Result
from segkit.evaluation.coco.score import score_results
from segkit.formats.dataset_folder import open_split
from segkit.loading.decode import decode_rgb
from segkit.models.tensors import labels_of
from segkit.runs.checkpoint import load_model

BATCH, RATE, MOMENTUM, DECAY = 2, 0.005, 0.9, 5e-4


def average_precision(dataset: Dataset, results: list[Result]) -> tuple[float, float]:
    """Mask AP and AP50 over as many instances as the most crowded image has."""
    scores = score_results(dataset, results, ("segm",)).segm
    assert scores is not None
    more = scores.at_max_dets
    return (more["AP"], more["AP50"]) if more else (scores.AP, scores.AP50)


def load(dataset: Dataset, image: Image, annotations: list[Annotation]) -> tuple[Tensor, dict[str, Tensor]]:
    """An image and its target as the tutorial makes them: bitmaps of the whole image, and their boxes."""
    pixels = decode_rgb(dataset.images_dir / image.file_name)
    labels = labels_of(dataset.categories)
    masks, boxes, kinds = [], [], []
    for each in annotations:
        if each.segmentation is None or each.iscrowd:
            continue
        rle = to_rle(each.segmentation, image.height, image.width)
        x, y, w, h = rle_bbox(rle)
        if w >= 1 and h >= 1:
            masks.append(torch.from_numpy(rle_to_mask(rle).copy()))
            boxes.append((x, y, x + w, y + h))
            kinds.append(labels[each.category_id])
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(kinds, dtype=torch.int64),
        "masks": torch.stack(masks) if masks else torch.zeros(0, image.height, image.width, dtype=torch.uint8),
    }
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255, target


def flipped(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Left and right exchanged."""
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
    return image.flip(-1), target | {"boxes": boxes, "masks": target["masks"].flip(-1)}


def train_plainly(dataset: Dataset, model: MaskRCNN, seconds: float, seed: int) -> int:
    """The tutorial's loop until the CPU time is used up; the number of steps."""
    rng, by_image = np.random.default_rng(seed), dataset.annotations_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    first_epoch = max(1, min(1000, len(dataset.images) // BATCH - 1))
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.001, total_iters=first_epoch)
    model.train()
    steps, order = 0, [0][:0]
    began = time.process_time()
    while time.process_time() - began < seconds:
        if len(order) < BATCH:
            order = rng.permutation(len(dataset.images)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        pairs = [load(dataset, dataset.images[i], by_image.get(dataset.images[i].id, [])) for i in chosen]
        pairs = [flipped(*pair) if rng.random() < 0.5 else pair for pair in pairs]
        loss = sum(model([image for image, _ in pairs], [target for _, target in pairs]).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        warm_up.step()
        steps += 1
    return steps


@torch.inference_mode()
def predict_plainly(dataset: Dataset, model: MaskRCNN) -> list[Result]:
    """torchvision's predictions of a split, pasted into whole images by torchvision."""
    model.eval()
    ids = {label: category for category, label in labels_of(dataset.categories).items()}
    results = []
    for image in dataset.images:
        found = model([load(dataset, image, [])[0]])[0]
        for mask, label, score in zip(found["masks"], found["labels"].tolist(), found["scores"].tolist(), strict=True):
            rle = mask_to_rle((mask[0] > 0.5).numpy())
            results.append(Result(image.id, ids[label], score, rle_bbox(rle), rle))
    return results


def plain_run(folder: Path, checkpoint: Path, seconds: float, seed: int) -> dict[str, Any]:
    """The tutorial's recipe with the backbone and the size of a segkit run."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    _, card = load_model(checkpoint, torch.device("cpu"))
    training, val = open_split(folder, "train"), open_split(folder, "val")
    backbone = resnet_fpn_backbone(
        backbone_name=card.backbone, weights=None, norm_layer=torch.nn.BatchNorm2d, trainable_layers=5
    )
    framing = card.framing
    model = MaskRCNN(
        backbone,
        len(card.categories) + 1,
        min_size=framing.size,
        max_size=framing.max_size,
        box_detections_per_img=card.settings.detections,
    )
    steps = train_plainly(training, model, seconds, seed)
    ap, ap50 = average_precision(val, predict_plainly(val, model))
    return {"steps": steps, "AP": round(ap, 4), "AP50": round(ap50, 4)}


def run(*command: object) -> tuple[float, str]:
    """CPU seconds of a command on one thread, and what it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(c) for c in command], env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def segkit_train(folder: Path, out: Path, name: str, steps: int, seed: int, size: int | None) -> float:
    """A default run from random weights; its CPU time."""
    limits = ("--steps", steps, "--seed", seed, "--weights", "none", "--device", "cpu")
    limits += () if size is None else ("--size", size)
    command = (sys.executable, "-m", "segkit", "train", folder, *limits, "--out", out, "--name", name)
    return run(*command)[0]


def pair(folder: Path, out: Path, steps: int, seed: int, size: int | None) -> dict[str, Any]:
    """One default run and one plain run of the same CPU time."""
    name = f"{folder.name}-{seed}"
    seconds = segkit_train(folder, out, name, steps, seed, size)
    checkpoint = out / name / "last.pt"
    _, printed = run(sys.executable, "-m", "segkit", "eval", checkpoint, "--data", folder, "--json")
    segm = json.loads(printed)["segm"]
    more = segm.get("at_max_dets") or segm
    ours = {"steps": steps, "AP": round(more["AP"], 4), "AP50": round(more["AP50"], 4)}
    options = ("--plain", checkpoint, "--seconds", seconds, "--seeds", seed)
    _, printed = run(sys.executable, __file__, folder, *options)
    plain = json.loads(printed)
    return {"set": folder.name, "seed": seed, "cpu_seconds": round(seconds), "segkit": ours, "torchvision": plain}


def steps_for(folder: Path, out: Path, seconds: float, size: int | None) -> int:
    """Steps that take about so much CPU time, from two short runs."""
    short, longer = (segkit_train(folder, out, f"{folder.name}-{n}-steps", n, 0, size) for n in (2, 8))
    return max(2, round(seconds / max((longer - short) / 6, 1e-3)))


def with_images(folder: Path, out: Path, count: int) -> Path:
    """The dataset with only so many training images."""
    small = out / f"{folder.name}{count}"
    small.mkdir(parents=True)
    for split in ("train", "val"):
        data = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
        if split == "train":
            data["images"] = data["images"][:count]
            kept = {image["id"] for image in data["images"]}
            data["annotations"] = [each for each in data["annotations"] if each["image_id"] in kept]
        (small / f"{split}.json").write_text(json.dumps(data), encoding="utf-8")
    (small / "images").symlink_to((folder / "images").absolute())
    return small


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--images", type=int, help="training images of each set at most")
    parser.add_argument("--size", type=int, help="shorter side of the images, for both")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # the second part, in its own process
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    if asked.plain is not None:
        print(json.dumps(plain_run(asked.datasets[0], asked.plain, asked.seconds, seeds[0])))
        return
    out = asked.out or Path(tempfile.mkdtemp(prefix="plain-torchvision-"))
    for given in asked.datasets:
        folder = given if asked.images is None else with_images(given, out, asked.images)
        steps = asked.steps if asked.seconds is None else steps_for(folder, out, asked.seconds, asked.size)
        lines = []
        for seed in seeds:
            lines.append(pair(folder, out, steps, seed, asked.size))
            print(json.dumps(lines[-1]), flush=True)
        means = {
            who: {
                "AP": round(statistics.mean(line[who]["AP"] for line in lines), 4),
                "spread": [f(line[who]["AP"] for line in lines) for f in (min, max)],
            }
            for who in ("segkit", "torchvision")
        }
        print(json.dumps({"set": folder.name, "seeds": len(seeds), **means}), flush=True)


if __name__ == "__main__":
    main()
