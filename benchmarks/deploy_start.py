"""Start-up time and resident memory of a prediction of one picture, with PyTorch and without.

python benchmarks/deploy_start.py RUN model.onnx picture.png [--repeat 5]
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
    """Seconds and the largest resident memory in MiB of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command}: ended with {status}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("onnx")
    parser.add_argument("picture")
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
        for name, command in roads.items():
            found = [measured(command) for _ in range(options.repeat + 1)][1:]  # the first fills the caches
            seconds, memory = zip(*found, strict=True)
            print(json.dumps({
                "road": name, "seconds": round(statistics.median(seconds), 2),
                "spread": [round(min(seconds), 2), round(max(seconds), 2)], "MiB": round(statistics.median(memory)),
            }))  # fmt: skip


if __name__ == "__main__":
    main()
