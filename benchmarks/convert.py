"""LabelMe to COCO: segkit and labelme2coco, side by side, in alternating runs on the same files.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install labelme2coco==0.2.6
    python benchmarks/convert.py --peer /tmp/peer/bin/labelme2coco --rounds 5
    python benchmarks/convert.py --peer ... --tiny 100000      # memory: files of 1 KB

Times are those of whole processes, interpreter and imports included. labelme2coco writes annotations and no pictures:
``--images none`` does the same; the default also decodes and writes every embedded picture. Memory is the greatest sum
over the process and its children (PSS where the system has it: shared pages count once).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from make_labelme import embedded, tiny
from pycocotools import mask as coco_mask


class Run(NamedTuple):
    """One process and its children: seconds on the clock and on all cores, greatest memory in MB."""

    wall: float
    cpu: float
    memory: float


def run(command: list[str], folder: Path, *, watch: bool) -> Run:
    """Run a command in a folder, and watch its memory, which takes some of its time; raise if it fails."""
    before = os.times()
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak))
    if watch:
        watcher.start()
    _, err = process.communicate()
    wall = time.perf_counter() - began
    if watch:
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{command}: {err.decode()[-2000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(wall, cpu, peak[0])


def _watch(pid: int, peak: list[float]) -> None:
    while True:
        try:
            parent = psutil.Process(pid)
            if parent.status() == psutil.STATUS_ZOMBIE:
                return
            total = 0
            for each in (parent, *parent.children(recursive=True)):
                try:
                    memory = each.memory_full_info()
                    total += getattr(memory, "pss", 0) or memory.rss
                except psutil.Error:
                    pass
            peak[0] = max(peak[0], total / 1e6)
        except psutil.Error:
            return
        time.sleep(0.05)


def check(source: Path, dataset: Path) -> str:
    """Compare what was written with the source: coordinates to the bit, areas with pycocotools."""
    top = json.loads((dataset / "train.json").read_text())
    images = {image["id"]: image for image in top["images"]}
    written: dict[str, list[Any]] = {Path(image["file_name"]).stem: [] for image in images.values()}
    for annotation in top["annotations"]:
        image = images[annotation["image_id"]]
        rle = coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], image["height"], image["width"]))
        assert annotation["area"] == coco_mask.area(rle)
        assert annotation["bbox"] == coco_mask.toBbox(rle).tolist()
        written[Path(image["file_name"]).stem].append(annotation["segmentation"])
    for path in sorted(source.glob("*.json")):
        shapes = json.loads(path.read_text())["shapes"]
        assert written[path.stem] == [[[v for point in shape["points"] for v in point]] for shape in shapes]
    return f"{len(top['annotations'])} instances: coordinates equal to the bit, areas and boxes equal to pycocotools'"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="labelme2coco of an environment of its own")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", type=int, default=0, help="measure memory on so many files of 1 KB instead")
    arguments = parser.parse_args()
    segkit = [sys.executable, "-m", "segkit", "convert"]
    with tempfile.TemporaryDirectory(prefix="segkit-benchmark-") as name:
        folder = Path(name)
        source = folder / "source"
        source.mkdir()
        if arguments.tiny:
            tiny(source, arguments.tiny)
            result = run([*segkit, str(source), "--out", "out", "--quiet"], folder, watch=True)
            print(f"{arguments.tiny} files: {result.wall:.1f} s, {result.cpu:.1f} s of cores, {result.memory:.0f} MB")
            return
        embedded(source, arguments.count)
        base = [*segkit, str(source), "--out", "out", "--val", "0", "--quiet"]
        commands = {
            "segkit --images none": [*base, "--images", "none"],
            "segkit --images none, one process": [*base, "--images", "none", "--workers", "1"],
            "segkit, pictures too": base,
        }
        if arguments.peer:
            commands["labelme2coco"] = [arguments.peer, str(source), "--export_dir", "out"]
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        memory: dict[str, float] = {}
        for number in range(arguments.rounds + 1):
            for name, command in commands.items():
                shutil.rmtree(folder / "out", ignore_errors=True)
                result = run(command, folder, watch=number == 0)
                if number:
                    runs[name].append(result)
                    continue
                memory[name] = result.memory  # the first round fills the page cache and is not timed
                if name.startswith("segkit"):
                    print(f"{name}: {check(source, folder / 'out')}")
        print("| | wall s: median (least to greatest) | core seconds | MB | times as fast |")
        print("|---|---|---|---|---|")
        slow = statistics.median(run.wall for run in runs.get("labelme2coco", next(iter(runs.values()))))
        for name, some in runs.items():
            walls = [each.wall for each in some]
            wall, cpu = statistics.median(walls), statistics.median(each.cpu for each in some)
            spread = f"{wall:.2f} ({min(walls):.2f} to {max(walls):.2f})"
            print(f"| {name} | {spread} | {cpu:.2f} | {memory[name]:.0f} | {slow / wall:.1f} |")


if __name__ == "__main__":
    main()
