"""What a teacher, and pictures without annotations, are worth: scores after equal steps, over seeds.

    python benchmarks/less.py distil DATASET --out FOLDER [--steps 200] [--teacher-steps 600] [--seeds 3]
    python benchmarks/less.py unlabelled DATASET --out FOLDER [--steps 200] [--share 0.1] [--seeds 3]

``distil``: a student of a small network with and without a teacher of a larger one, which was trained on the same
dataset for longer. ``unlabelled``: a run on a share of the labels (stratified), with the other training pictures as
unlabelled ones. It goes on with labels alone beside it, to the bit as a run without them (tests/test_unlabelled.py),
so that it gives both scores. All begin with ``--weights``. Other options have their defaults or come after ``--``, for
example ``-- --size 96 --eval-every 50`` (else both are compared at the end only). Runs are in FOLDER: what is there
already is not run again, and ``--minutes`` says from when on none is begun. A table in Markdown on stdout: mask AP and
mIoU after the last step, mean and range over seeds, and the gain of each seed.
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

import cv2

from segkit.data.masks import measure
from segkit.data.stratify import part_of, stratified_order
from segkit.formats.dataset_folder import open_split

Scores = Mapping[str, float]
Rows = dict[str, list[Scores | None]]


class Runs:
    """Runs in a folder, each made once."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.until = asked, time.monotonic() + 60 * asked.minutes

    def score(self, name: str, dataset: Path, options: list[str]) -> Scores | None:
        """The scores after a run's last step; None where there is no time to make it."""
        score = self.asked.out / f"{name}.json"
        if not score.is_file():
            if time.monotonic() > self.until:
                return None
            shutil.rmtree(self.asked.out / name, ignore_errors=True)
            command = [
                sys.executable, "-m", "segkit", "train", str(dataset), "--model", self.asked.model, "--device", "cpu",
                "--eval-every", "100000", "--out", str(self.asked.out), "--name", name, "--json",
                *options, *self.asked.more,
            ]  # fmt: skip
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            score.write_text(done.stdout)
            for kept in ("last.pt", "last.previous.pt"):
                (self.asked.out / name / kept).unlink(missing_ok=True)
        return _headline(json.loads(score.read_text())["metrics"])


def distil(runs: Runs) -> Rows:
    asked = runs.asked
    larger = ["--backbone", asked.larger, "--steps", str(asked.teacher_steps)]
    teacher = runs.score("teacher", asked.dataset, [*larger, "--weights", asked.teacher_weights or asked.weights])
    scores: Rows = {f"teacher, {asked.larger}, {asked.teacher_steps} steps": [teacher]}
    for seed in range(asked.seeds if teacher is not None else 0):
        for name, more in (("alone", []), ("taught", ["--teacher", str(asked.out / "teacher")])):
            options = ["--backbone", asked.smaller, "--steps", str(asked.steps), "--seed", str(seed), *more]
            options += ["--weights", asked.weights]
            scores.setdefault(f"{asked.smaller} {name}", []).append(
                runs.score(f"{name}-{seed}", asked.dataset, options)
            )
    return scores


def unlabelled(runs: Runs) -> Rows:
    asked, scores = runs.asked, Rows()
    for seed in range(asked.seeds):
        part, others = _part(asked.dataset, asked.share, seed, asked.out / f"part-{seed}")
        options = ["--backbone", asked.smaller, "--steps", str(asked.steps), "--seed", str(seed)]
        options += ["--weights", asked.weights, "--ema", str(asked.ema), "--unlabelled", str(others)]
        kept = runs.score(f"unlabelled-{seed}", part, options)
        sides = _sides(asked.out / f"unlabelled-{seed}") if kept is not None else dict.fromkeys(_SIDES)
        for name, score in [*sides.items(), ("what is kept", kept)]:
            label = f"{asked.share:.0%} of labels, {name.replace('_', ' ')}"
            scores.setdefault(label, []).append(score)
    return scores


_SIDES = ("with_unlabelled", "mean_of_both", "labels_alone")


def _sides(run: Path) -> dict[str, Scores]:
    """The scores after the last step of each model that the run chose from; the last one is with labels alone."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    last = [line for line in lines if line["kind"] == "eval"][-1]
    kept = _headline(last)
    sides = {side: last.get(side, kept) for side in _SIDES}  # all one where pseudo-labels were given up
    return {side: {name: scores[name] for name in kept} for side, scores in sides.items()}


def _headline(metrics: Mapping[str, Mapping[str, float]]) -> Scores:
    known = {"mask AP": ("segm", "AP"), "mIoU": ("semantic", "mIoU")}
    return {name: float(metrics[part][score]) for name, (part, score) in known.items() if part in metrics}


def smaller(dataset: Path, factor: int, out: Path) -> Path:
    """A copy of a dataset whose pictures and polygons have that part of their sides."""
    if not out.is_dir():
        for split in ("train", "val"):
            content = json.loads((dataset / f"{split}.json").read_text())
            for image in content["images"]:
                pixels = cv2.imread(str(dataset / "images" / image["file_name"]))
                image["height"], image["width"] = (side // factor for side in pixels.shape[:2])
                image["file_name"] = str(Path(image["file_name"]).with_suffix(".png"))
                path = out / "images" / image["file_name"]
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(
                    str(path), cv2.resize(pixels, (image["width"], image["height"]), None, 0, 0, cv2.INTER_AREA)
                )
            sides = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
            for each in content["annotations"]:
                each["segmentation"] = [[value / factor for value in part] for part in each["segmentation"]]
                area, box = measure(each["segmentation"], *sides[each["image_id"]])
                each["area"], each["bbox"] = area, list(box)
            (out / f"{split}.json").write_text(json.dumps(content))
    return out


def _part(dataset: Path, share: float, seed: int, out: Path) -> tuple[Path, Path]:
    """A dataset with a share of the training images, and a folder with links to the others."""
    others = out / "others"
    whole = open_split(dataset, "train")
    order = stratified_order(whole, seed)
    count = max(1, round(share * len(order)))
    if not out.is_dir():
        others.mkdir(parents=True)
        content = json.loads((dataset / "train.json").read_text())
        kept = {image.id for image in part_of(whole, order[:count]).images}
        content["images"] = [each for each in content["images"] if each["id"] in kept]
        content["annotations"] = [each for each in content["annotations"] if each["image_id"] in kept]
        (out / "train.json").write_text(json.dumps(content))
        shutil.copy(dataset / "val.json", out)
        (out / "images").symlink_to((dataset / "images").resolve())
        for place in order[count:]:
            path = whole.paths.of(whole.images[place]).resolve()
            (others / f"{place}{path.suffix}").symlink_to(path)
    return out, others


def table(rows: Rows) -> None:
    """Print the scores: mean and range over seeds, and of each seed the last row's less that of the row before."""
    known = {name: [each for each in values if each is not None] for name, values in rows.items()}
    known = {name: values for name, values in known.items() if values}
    names = list(next(iter(known.values()))[0]) if known else []
    print(f"| run | {' | '.join(names)} | seeds |\n|---|{'---|' * (len(names) + 1)}")
    for row, values in known.items():
        print(f"| {row} | {' | '.join(_spread([each[name] for each in values]) for name in names)} | {len(values)} |")
    if len(known) > 1:
        alone, more = list(rows.values())[-2:]
        pairs = [pair for pair in zip(alone, more, strict=False) if pair[0] is not None and pair[1] is not None]
        for name in names if pairs else ():
            gains = ", ".join(f"{other[name] - one[name]:+.3f}" for one, other in pairs if one and other)
            print(f"\nGain in {name} by seed: {gains}")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("distil", "unlabelled"))
    parser.add_argument("dataset", type=Path, help="a folder that convert wrote")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--model", default="unet")
    parser.add_argument("--steps", type=int, default=200, help="steps of each run")
    parser.add_argument("--weights", default="none", help="what all runs begin with: none, imagenet, a file")
    parser.add_argument("--teacher-weights", help="the same for a teacher, if others")
    parser.add_argument("--teacher-steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--larger", default="resnet18", help="the teacher's backbone")
    parser.add_argument("--smaller", default="mobilenet_v3_large", help="the student's backbone")
    parser.add_argument("--shrink", type=int, default=1, help="take pictures and polygons at that part of their sides")
    parser.add_argument("--share", type=float, default=0.1, help="of the labels")
    parser.add_argument("--ema", type=float, default=0.99)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after so many")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:cut])
    asked.more = words[cut + 1 :]  # options of every run
    runs = Runs(asked)
    runs.asked.out.mkdir(parents=True, exist_ok=True)
    if asked.shrink > 1:
        asked.dataset = smaller(asked.dataset, asked.shrink, asked.out / "smaller")
    scores = (distil if runs.asked.what == "distil" else unlabelled)(runs)
    table(scores)


if __name__ == "__main__":
    main()
