"""Things and stuff: one network (--model panoptic) against two (maskrcnn and unet), at equal steps, over seeds.

    python benchmarks/two_tasks.py DATASET --stuff sky,road --out FOLDER [--steps 200] [--seeds 3] [-- --size 96]

DATASET is a folder that convert wrote, in which all categories are annotated. The Mask R-CNN is trained on the things
alone, in a copy of the annotations without stuff, the U-Net on everything. The map of two networks is the U-Net's, over
which the instances of the Mask R-CNN are laid by the same merge: so both are scored alike, by AP, mIoU and PQ. Each run
has the same number of steps and batch; two networks take the sum of two runs, and the larger memory. Other options come
after ``--``. Runs are in FOLDER: what is there already is not run again, and ``--minutes`` says from when on none is
begun. Tables in Markdown on stdout: scores, memory and time, mean and range over seeds.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from segkit.data.masks import mask_to_rle, rle_bbox, rle_to_mask, to_rle
from segkit.data.panoptic_merge import ClassMap, merge_panoptic
from segkit.data.records import Dataset, Result
from segkit.evaluation.pixels.confusion import Confusion, paint
from segkit.evaluation.pixels.segments import SegmentScores
from segkit.formats.dataset_folder import open_split
from segkit.inference.model import LoadedModel, load
from segkit.inference.score import ScoreOptions, score
from segkit.loading.decode import decode_framed
from segkit.loading.whole import load_for_model
from segkit.models.tensors import labels_of
from segkit.progress import SILENT
from segkit.runs.folder import METRICS
from segkit.runs.metrics_file import read_metrics
from segkit.runtime.ranks import Ranks

CPU = torch.device("cpu")


class Runs:
    """Runs in a folder, each made once."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.until = asked, time.monotonic() + 60 * asked.minutes

    def made(self, name: str, dataset: Path, options: Sequence[str]) -> dict[str, Any] | None:
        """Wall time and peak memory of a run; None where there is no time to make it."""
        kept = self.asked.out / f"{name}.json"
        if not kept.is_file():
            if time.monotonic() > self.until:
                return None
            shutil.rmtree(self.asked.out / name, ignore_errors=True)
            command = [
                sys.executable, "-m", "segkit", "train", str(dataset), "--device", self.asked.device,
                "--steps", str(self.asked.steps), "--batch", str(self.asked.batch), "--eval-every", "100000",
                "--out", str(self.asked.out), "--name", name, "--weights", self.asked.weights,
                "--backbone", self.asked.backbone, "--quiet", *options, *self.asked.more,
            ]  # fmt: skip
            subprocess.run(command, check=True)
            lines = [json.loads(line) for line in (self.asked.out / name / "metrics.jsonl").read_text().splitlines()]
            steps = [line for line in lines if line["kind"] == "step"]
            seconds = sum(self.asked.batch / line["images_per_s"] for line in steps if line["images_per_s"])
            memory = max(line["peak"] or line["rss"] for line in steps)
            kept.write_text(json.dumps({"seconds": seconds, "memory": memory}))
        found: dict[str, Any] = json.loads(kept.read_text())
        return found


def in_parts(dataset: Path, stuff: Sequence[str], least: int, out: Path) -> Path:
    """A copy of the annotations in which each connected part of a thing is an instance, or a crowd if it is small."""
    if not out.is_dir():
        out.mkdir(parents=True)
        for split in ("train", "val"):
            content = json.loads((dataset / f"{split}.json").read_text())
            regions = {each["id"] for each in content["categories"] if each["name"] in stuff}
            sides = {each["id"]: (each["height"], each["width"]) for each in content["images"]}
            parts = []
            for each in content["annotations"]:
                whole = each["category_id"] in regions or each["iscrowd"]
                parts += [each] if whole else _parts(each, *sides[each["image_id"]], least)
            content["annotations"] = [each | {"id": number} for number, each in enumerate(parts, 1)]
            (out / f"{split}.json").write_text(json.dumps(content))
        (out / "images").symlink_to((dataset / "images").resolve())
    return out


def _parts(annotation: Mapping[str, Any], height: int, width: int, least: int) -> list[dict[str, Any]]:
    count, labels = cv2.connectedComponents(rle_to_mask(to_rle(annotation["segmentation"], height, width)))
    out = []
    for label in range(1, count):
        mask = labels == label
        rle, area = mask_to_rle(mask), int(mask.sum())
        own = {"segmentation": rle, "area": area, "bbox": list(rle_bbox(rle)), "iscrowd": int(area < least)}
        out.append({**annotation, **own})
    return out


def without_stuff(dataset: Path, stuff: Sequence[str], out: Path) -> Path:
    """A copy of the annotations of a dataset in which things alone are."""
    if not out.is_dir():
        out.mkdir(parents=True)
        for split in ("train", "val"):
            content = json.loads((dataset / f"{split}.json").read_text())
            content["categories"] = [each for each in content["categories"] if each["name"] not in stuff]
            kept = {each["id"] for each in content["categories"]}
            content["annotations"] = [each for each in content["annotations"] if each["category_id"] in kept]
            (out / f"{split}.json").write_text(json.dumps(content))
        (out / "images").symlink_to((dataset / "images").resolve())
    return out


def scores_of_one(run: Path) -> dict[str, float]:
    """What a model of both tasks scores: the evaluation at the end of its training."""
    found = [line for line in read_metrics(run / METRICS) if line["kind"] == "eval"][-1]
    panoptic = found["panoptic"]
    parts = {"PQ": panoptic["PQ"], **{f"PQ {kind}": panoptic[kind]["PQ"] for kind in ("things", "stuff")}}
    return {"AP": found["segm"]["AP"], "mIoU": found["semantic"]["mIoU"], **parts}


def scores_of_two(detector: Path, network: Path, val: Dataset, stuff: Sequence[str]) -> dict[str, float]:
    """What two models score together, by the same merge."""
    ids = frozenset(each.id for each in val.categories if each.name in stuff)
    things, maps = load(detector / "last.pt", CPU), load(network / "last.pt", CPU)
    options = ScoreOptions(details=True, pixels=False)
    only = val.without(ids)
    predictor = things.in_batches(4, SILENT, "evaluating")
    found = score(predictor, things.card, only, Ranks(0, 1, CPU), options, SILENT)
    assert found.metrics.segm is not None
    by_image: dict[Any, list[Result]] = {}
    for result in found.results:
        by_image.setdefault(result.image_id, []).append(result)
    pixels, own_pixels, segments = Confusion(val), Confusion(val), SegmentScores(val, ids)
    labels, annotations = labels_of(val.categories), val.annotations_of()
    kinds = {label: number for number, label in labels.items() if number in ids}
    for image in val.images:
        classes = _classes(maps, val, image)
        merged = merge_panoptic(by_image.get(image.id, []), classes, kinds)
        own = annotations.get(image.id, [])
        segments.add(image, own, merged)
        truth = paint(image, own, labels, val.uncovered)
        pixels.add(truth, merged.label_map(labels))
        own_pixels.add(truth, classes.classes)
    panoptic = segments.metrics(segments.images)
    parts = {"PQ": panoptic.PQ, "PQ things": panoptic.things["PQ"], "PQ stuff": panoptic.stuff["PQ"]}
    alone = {"mIoU of the U-Net's own map": own_pixels.metrics().mIoU}
    return {"AP": found.metrics.segm.AP, "mIoU": pixels.metrics().mIoU, **parts, **alone}


def _classes(model: LoadedModel, val: Dataset, image: Any) -> ClassMap:
    """The label of every pixel by a U-Net, and its probability."""
    assert model.maps is not None
    pixels = decode_framed(val.paths.of(image), (image.height, image.width), model.card.levels)
    with torch.inference_mode():
        (maps,) = model.maps([torch.from_numpy(load_for_model(pixels, model.card.framing))])
    best, labels = maps[: len(model.card.categories) + 1].max(dim=0)
    return ClassMap(labels.numpy().astype(np.uint8), best.numpy().astype(np.float32))


def table(title: str, rows: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Print a table: a row for each kind of run, mean and range over seeds."""
    names = list(dict.fromkeys(name for values in rows.values() for name in values[0]))
    print(f"\n| {title} | {' | '.join(names)} | seeds |\n|---|{'---|' * (len(names) + 1)}")
    for kind, values in rows.items():
        cells = []
        for name in names:
            known = [each[name] for each in values if name in each]
            if not known:
                cells.append("-")
                continue
            digits = 3 if max(known) < 2 else 0
            cells.append(f"{statistics.mean(known):.{digits}f} ({min(known):.{digits}f} to {max(known):.{digits}f})")
        print(f"| {kind} | {' | '.join(cells)} | {len(values)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a folder that convert wrote")
    parser.add_argument("--stuff", required=True, help="categories that are stuff, separated by commas")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--steps", type=int, default=200, help="steps of each run")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--semantic-weight", default="0.5", help="of the one network; a list is one row for each")
    parser.add_argument("--parts", type=int, default=0, help="each connected part of things is an instance, or a crowd")
    parser.add_argument("--detections", type=int, default=100, help="of the networks that have instances")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after so many")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:cut])
    asked.more = words[cut + 1 :]  # options of every run
    asked.out.mkdir(parents=True, exist_ok=True)
    runs, stuff = Runs(asked), asked.stuff.split(",")
    if asked.parts:
        asked.dataset = in_parts(asked.dataset, stuff, asked.parts, asked.out / "parts")
    val = open_split(asked.dataset, "val")
    things = without_stuff(asked.dataset, stuff, asked.out / "things")
    scores: dict[str, list[Mapping[str, float]]] = {}
    costs: dict[str, list[Mapping[str, float]]] = {}
    for seed in range(asked.seeds):
        common, found_most = ["--seed", str(seed)], ["--detections", str(asked.detections)]
        for weight in asked.semantic_weight.split(","):
            name = f"panoptic-{weight}-{seed}"
            options = ["--model", "panoptic", "--stuff", asked.stuff, "--semantic-weight", weight, *common, *found_most]
            if (made := runs.made(name, asked.dataset, options)) is not None:
                kind = f"one network, weight {weight}"
                scores.setdefault(kind, []).append(scores_of_one(asked.out / name))
                costs.setdefault(kind, []).append({"s": made["seconds"], "MiB": made["memory"] / 2**20})
        two = [
            runs.made(f"maskrcnn-{seed}", things, ["--model", "maskrcnn", *common, *found_most]),
            runs.made(f"unet-{seed}", asked.dataset, ["--model", "unet", *common]),
        ]
        made_both = [each for each in two if each is not None]
        if len(made_both) == len(two):
            found = scores_of_two(asked.out / f"maskrcnn-{seed}", asked.out / f"unet-{seed}", val, stuff)
            scores.setdefault("two networks", []).append(found)
            cost = {"s": sum(each["seconds"] for each in made_both)}
            costs.setdefault("two networks", []).append(
                cost | {"MiB": max(each["memory"] for each in made_both) / 2**20}
            )
    if scores:
        table("scores", scores)
        table("training", costs)


if __name__ == "__main__":
    main()
