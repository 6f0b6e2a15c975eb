"""``segkit predict`` from JPEG files to RLE: pictures a second, and where the time goes."""

import cProfile
import json
import pstats
import shutil
import time
from pathlib import Path
from typing import Any

from data import draw_dataset
from results import Stage, stage
from training import train_run

from segkit.cli import main as segkit


def timed(running: Stage, pictures: Path, run: Path, batch: int, profiler: cProfile.Profile | None = None) -> float:
    """Seconds of one call, in this process: the interpreter and the libraries are there already."""
    out = running.folder / "predictions"
    arguments = ["predict", str(pictures), "--model", str(run), "--out", str(out), "--force", "--format", "coco",
                 "--score", "0", "--batch", str(batch), "--device", running.device, "--quiet"]  # fmt: skip
    began = time.perf_counter()
    if profiler is not None:
        profiler.enable()
    code = segkit(arguments)
    if profiler is not None:
        profiler.disable()
    if code:
        raise SystemExit(f"predict: exit code {code}")
    return time.perf_counter() - began


def where_time_goes(profiler: cProfile.Profile) -> dict[str, float]:
    """Cumulative seconds of segkit's and torchvision's functions, the longest first; a GPU's time is in its readers."""
    rows = [
        (times[3], f"{package}{file.rpartition(f'/{package}')[2]}:{name}")
        for (file, _, name), times in pstats.Stats(profiler).stats.items()
        for package in ("segkit", "torchvision")
        if f"/{package}/" in file
    ]
    return {name: round(seconds, 3) for seconds, name in sorted(rows, reverse=True)[:25]}


def measure(running: Stage) -> None:
    """Random weights find as many instances as a model may give: the most work for masks."""
    count, height, width = (32, 1500, 2000) if not running.rehearse else (4, 96, 128)
    pictures = draw_dataset(running.folder / "pictures", images=4, height=height, width=width, instances=20).parent
    for number in range(5, count + 1):
        shutil.copy(pictures / f"{1 + number % 4}.jpg", pictures / f"{number}.jpg")
    shared: dict[str, Any] = {"steps": 1, "batch": 2, "device": running.device}
    shared |= {"backbone": "resnet50", "size": 800, "max_size": 1333} if not running.rehearse else {"size": 96}
    run = train_run(pictures / "coco.json", running.folder / "runs", **shared).run
    timed(running, pictures, run, 2)  # to warm up
    for batch in (4, 16) if not running.rehearse else (2,):
        with running.case(f"batch {batch}") as figures:
            seconds = timed(running, pictures, run, batch)
            results = json.loads((running.folder / "predictions" / "results.json").read_text())
            figures |= {
                "pictures": count,
                "images_per_s": round(count / seconds, 2),
                "ms_per_image": round(1000 * seconds / count, 1),
                "instances_per_image": round(len(results) / count, 1),
            }
    with running.case("where the time goes") as figures:
        profiler = cProfile.Profile()
        figures["seconds"] = round(timed(running, pictures, run, 4, profiler), 3)
        figures["cumulative_seconds"] = where_time_goes(profiler)


if __name__ == "__main__":
    with stage("predict") as running:
        measure(running)
