"""A U-Net's instances with the distance head beside connected components, at equal steps.

    python benchmarks/touching.py DATASET --out FOLDER [--steps 150] [--seeds 0,1,2] [--instances components,distance]

DATASET is a folder that ``segkit convert`` wrote. Each training is a line of JSON on stdout: mask AP and AP50 of the
validation split, and the error of the counts: the sum over images of how far the number of instances with a score of
at least 0.5, as ``predict`` counts them, is from the true one, by the true sum. A run in FOLDER is not repeated,
and one that was stopped goes on, so that the whole can be done in parts.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from segkit.config.train import TrainConfig
from segkit.formats.dataset_folder import open_split
from segkit.inference.model import load
from segkit.loading.sampler import Key
from segkit.loading.whole import WholePictures
from segkit.runs.metrics_file import read_metrics
from segkit.training.train import train

LEAST_SCORE, DONE = 0.5, "done"


def trained(arguments: argparse.Namespace, instances: str, seed: int) -> Path:
    """The run of a kind of instances and a seed; one that was stopped goes on.

    Raises:
        SystemExit: It was stopped again.
    """
    run = Path(arguments.out / f"{instances}-{arguments.steps}-{seed}")
    if (run / DONE).is_file():
        return run
    config = TrainConfig(
        dataset=arguments.dataset, model="unet", backbone=arguments.backbone, instances=instances,
        steps=arguments.steps, size=arguments.size, batch=arguments.batch, lr=arguments.lr, device="cpu", seed=seed,
        eval_every=10**6, out=arguments.out, name=run.name, weights=arguments.weights, precision="fp32",
    )  # fmt: skip
    summary = train(TrainConfig(resume=str(run)) if (run / "last.pt").is_file() else config)
    if summary.ended != "complete":
        raise SystemExit(f"{run}: {summary.ended} after {summary.steps} steps; the same command goes on")
    (run / DONE).write_text(f"{summary.seconds:.0f}")
    return run


def count_error(run: Path, dataset: Path) -> tuple[int, int, int]:
    """Instances that are counted, those that are there, and the sum of differences, over the validation split."""
    model, val = load(run / "last.pt", torch.device("cpu")), open_split(dataset, "val")
    pictures = WholePictures(val, model.card.framing, model.card.levels)
    by_image, found, true, off = val.annotations_of(), 0, 0, 0
    for index, image in enumerate(val.images):
        sample = pictures[Key(0, index, 0)]
        with torch.inference_mode():
            (prediction,) = model.predict([torch.from_numpy(sample.image)])
        here = int((prediction["scores"] >= LEAST_SCORE).sum())
        there = len(by_image.get(image.id, []))
        found, true, off = found + here, true + there, off + abs(here - there)
    return found, true, off


def measured(run: Path, dataset: Path) -> dict[str, Any]:
    """The figures of a run."""
    last = [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == "eval"][-1]
    found, true, off = count_error(run, dataset)
    return {
        "run": run.name, "AP": round(last["segm"]["AP"], 4), "AP50": round(last["segm"]["AP50"], 4),
        "mIoU": round(last["semantic"]["mIoU"], 4), "counted": found, "true": true,
        "count_error": round(off / true, 4), "seconds": int((run / DONE).read_text()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--instances", default="components,distance")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    arguments = parser.parse_args()
    for seed in map(int, arguments.seeds.split(",")):
        for instances in arguments.instances.split(","):
            run = trained(arguments, instances, seed)
            print(json.dumps(measured(run, arguments.dataset)), flush=True)


if __name__ == "__main__":
    main()
