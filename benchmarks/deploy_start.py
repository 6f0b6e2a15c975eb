"""Start-up time and resident memory of a prediction of one picture, with PyTorch and without; and of an evaluation.

python benchmarks/deploy_start.py RUN model.onnx picture.png [--data DATASET] [--repeat 5]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measured(command):
    """Seconds, seconds of the processor, and the largest resident memory in MiB of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command}: ended with {status}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("onnx")
    parser.add_argument("picture")
    parser.add_argument("--data", help="evaluate on this dataset, too")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    deploy = Path(__file__).parents[1] / "examples/deploy/predict.py"
    with tempfile.TemporaryDirectory() as out:
        segkit = [sys.executable, "-m", "segkit", "predict", options.picture, "--out", out, "--force", "--quiet"]
        roads = {
            "segkit, checkpoint": [*segkit, "--model", options.run],
            "segkit, ONNX": [*segkit, "--model", options.onnx],
            "examples/deploy, ONNX, without segkit and torch": [
                sys.executable, str(deploy), options.onnx, options.picture
            ],
        }  # fmt: skip
        if options.data is not None:
            evaluate = [sys.executable, "-m", "segkit", "eval", "--data", options.data, "--out", out, "--quiet"]
            roads |= {
                "segkit eval, checkpoint": [*evaluate, options.run], "segkit eval, ONNX": [*evaluate, options.onnx]
            }  # fmt: skip
        measurements = {name: [] for name in roads}
        for number in range(options.repeat + 1):  # in turns, as other work on the machine slows down all alike then
            for name, command in roads.items():
                found = measured(command)
                measurements[name] += [found] if number else []  # the first fills the caches
        for name, found in measurements.items():
            seconds, processor, memory = zip(*found, strict=True)
            print(json.dumps({
                "road": name, "seconds": round(statistics.median(seconds), 2),
                "spread": [round(min(seconds), 2), round(max(seconds), 2)],
                "processor": round(statistics.median(processor), 2), "MiB": round(statistics.median(memory)),
            }))  # fmt: skip


if __name__ == "__main__":
    main()
