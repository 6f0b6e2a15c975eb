"""The score after each round of annotating: pictures that ``segkit label --next`` chooses, against random ones.

Starts from 20 annotated pictures; each round annotates five more (the drawn truth) and trains anew from ImageNet
weights: from random ones, scores of short runs differ more by chance. Both ways start from the same pictures and use
the same seeds, and are scored on the same 60 others.

    python benchmarks/label_next.py OUT --steps 600 --seeds 3     # about 30 trainings of 600 steps
    python benchmarks/label_next.py OUT --steps 2 --seeds 1 --rounds 1 --pool 12 --start 4
"""

import argparse
import json
import random
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TRAIN = ("--backbone", "efficientnet_lite0", "--weights", "imagenet")


def segkit(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "segkit", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"segkit {' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def draw(folder: Path, count: int, seed: int) -> None:
    words = [ROOT / "examples/make_pictures.py", folder, "--count", count, "--seed", seed]
    subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True)


def annotate(pool: Path, hidden: Path, names: list[str]) -> None:
    for name in names:
        shutil.copy(hidden / f"{name}.json", pool / f"{name}.json")


def score(pool: Path, test: Path, work: Path, options: argparse.Namespace, seed: int) -> float:
    """Train on what is annotated in the pool, and score it."""
    shutil.rmtree(work, ignore_errors=True)
    labels = test / "labels.txt"  # also of categories that nobody has annotated yet
    segkit("convert", pool, "--out", work / "data", "--val", 0, "--labels", labels, "--quiet")
    segkit(
        "train", work / "data", "--steps", options.steps, "--seed", seed, "--eval-every", 10**6,
        "--out", work / "runs", "--name", "r", "--model", options.model, "--size", options.size, "--quiet",
        *options.train,
    )  # fmt: skip
    found = json.loads(segkit("eval", work / "runs/r", "--data", test / "train.json", "--out", work / "eval", "--json"))
    return float(found["segm"]["AP"])


def one_way(way: str, out: Path, options: argparse.Namespace, seed: int, first: float | None) -> list[float]:
    """The scores at the start, which is ``first`` if that is known, and after each round."""
    rng, hidden, pool, work = (
        random.Random(seed),
        out / f"all-{seed}",
        out / f"{way}-{seed}",
        out / f"{way}-{seed}-work",
    )
    shutil.rmtree(pool, ignore_errors=True)
    pool.mkdir()
    pictures = sorted(path for path in hidden.iterdir() if path.suffix != ".json")
    for path in pictures:
        shutil.copy(path, pool)
    names = [path.stem for path in pictures]
    rng.shuffle(names)
    annotate(pool, hidden, names[: options.start])
    left = names[options.start :]
    curve = [score(pool, out / "test-data", work, options, seed) if first is None else first]
    for _ in range(options.rounds):
        chosen = left[: options.by]
        if way == "next":
            listed = json.loads(segkit("label", pool, "--next", options.by, "--model", work / "runs/r", "--json"))
            chosen = [Path(each["image"]).stem for each in listed["next"]]
        annotate(pool, hidden, chosen)
        left = [name for name in left if name not in chosen]
        curve.append(score(pool, out / "test-data", work, options, seed))
        print(f"seed {seed}, {way}: {' '.join(f'{value:.3f}' for value in curve)}", flush=True)
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for name, value in (
        ("steps", 600),
        ("seeds", 3),
        ("rounds", 4),
        ("by", 5),
        ("start", 20),
        ("pool", 150),
        ("size", 128),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--model", default="unet")
    parser.add_argument(
        "--train", type=shlex.split, default=list(_TRAIN), metavar="OPTIONS", help="more options of segkit train"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    draw(options.out / "test", 60, 10**6)
    segkit("convert", options.out / "test", "--out", options.out / "test-data", "--val", 0, "--force", "--quiet")
    curves: dict[str, list[list[float]]] = {"next": [], "random": []}
    for seed in range(options.seeds):
        draw(options.out / f"all-{seed}", options.pool, seed)
        curves["next"].append(one_way("next", options.out, options, seed, None))
        curves["random"].append(one_way("random", options.out, options, seed, curves["next"][-1][0]))
    for way, found in curves.items():
        rounds = [statistics.mean(values) for values in zip(*found, strict=True)]
        print(f"{way}: mean AP after each round {' '.join(f'{value:.3f}' for value in rounds)}")
    (options.out / "curves.json").write_text(json.dumps(curves, indent=1) + "\n")


if __name__ == "__main__":
    main()
