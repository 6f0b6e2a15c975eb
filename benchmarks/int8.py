"""A model in 32 and in 8 bits: the size of its file, its score, and its latency, measured in turns.

python benchmarks/int8.py DATASET --out FOLDER [--run RUN | --train "--model unet --steps 300"]

Without --run, a model is trained first, with these options. What --int8 leaves in 32 bits to keep the score within
--tolerance is named.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from segkit.loading.calibration import calibration_images
from segkit.runtimes.onnx_model import OnnxModel


def segkit(*arguments):
    """What a command prints as JSON."""
    command = [sys.executable, "-m", "segkit", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def scores_of(file, dataset):
    """The scores of a file on the validation split."""
    found = segkit("eval", file, "--data", dataset)
    if "semantic" in found:
        return {"mIoU": found["semantic"]["mIoU"]}
    return {kind: found[kind]["AP"] for kind in ("segm", "bbox") if kind in found}


def latencies(files, images, threads, repeat):
    """Milliseconds of single images, by file; each image goes through all files before the next one."""
    models = [OnnxModel(file, threads=threads) for file in files]
    spent = [[] for _ in models]
    for number in range(-2, repeat):  # two to warm up
        image = images[number % len(images)]
        for model, own in zip(models, spent, strict=True):
            began = time.perf_counter()
            model([image])
            own += [1000 * (time.perf_counter() - began)] if number >= 0 else []
    return [{"p50": round(statistics.median(own), 1), "p95": round(float(np.percentile(own, 95)), 1)} for own in spent]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="take this run instead of training one")
    parser.add_argument("--train", type=shlex.split, default=[], metavar="OPTIONS", help="options of segkit train")
    parser.add_argument("--tolerance", type=float, default=0.003, help="loss of AP or mIoU that is allowed in 8 bits")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=40)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = options.run
    if run is None:
        run = options.out / "runs" / "run"
        fixed = ("--out", run.parent, "--name", run.name, "--device", "cpu")
        if not (run / "last.pt").is_file():
            segkit("train", options.dataset, *fixed, *options.train)
    whole, small = options.out / "fp32.onnx", options.out / "int8.onnx"
    segkit("export", run, "--out", whole, "--data", options.dataset)
    said = segkit(
        "export", run, "--out", small, "--int8", "--calibrate", options.dataset, "--data", options.dataset,
        "--tolerance", options.tolerance,
    )  # fmt: skip
    images = [each.numpy() for each in calibration_images(options.dataset, OnnxModel(whole).card)[:8]]
    speeds = latencies((whole, small), images, options.threads, options.repeat)
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").is_file() else set()
    print(json.dumps({
        "dataset": str(options.dataset), "model": OnnxModel(whole).card.model, "image": list(images[0].shape[1:]),
        "files": {
            file.stem: {"MB": round(file.stat().st_size / 1e6, 1), **scores_of(file, options.dataset), **speed}
            for file, speed in zip((whole, small), speeds, strict=True)
        },
        "in 32 bits": said["left_out"],
        "latency ratio": round(speeds[1]["p50"] / speeds[0]["p50"], 3),
        "threads": options.threads, "load": psutil.getloadavg()[0],
        "processor has": sorted(flags & {"avx512_vnni", "avx_vnni", "amx_int8"}),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
