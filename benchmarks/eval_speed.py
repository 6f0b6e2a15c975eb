"""``segkit eval`` beside pycocotools: time and memory from two files to the twelve numbers, and after the last batch.

    python benchmarks/eval_speed.py [--repeats 5] [--images 500] [--only "500 x 20"] [--out eval_speed.json]

Every measurement is a process of its own, without its start; the roads take turns. First of all the numbers must be
equal. ``file``: 500 pictures of 640 x 480 with 20 instances and 40 results each, of 3 and of 80 categories (100
results), and 40 pictures of 3000 x 2000 with 150 instances and 200 results. ``loop``: 200 of the first pictures
arrive in batches of 4; what is left to do after the last batch, for masks and boxes: here, and by the recipe of
torchvision's references (``COCOeval.evaluate`` a batch at a time, then ``accumulate`` and ``summarize``; what it does
between ranks is left out, in its favour).

``segkit`` reads the run lengths that are kept beside the annotations, ``first`` makes them. faster-coco-eval takes part
where it is installed. ``boundary`` is boundary AP of the first pictures, ``crowded`` 1,564 pictures with 285,000
cells, as in LIVECell: segkit alone.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

WORKLOADS = {
    "500 x 20, 3 categories": (500, 640, 480, 20, 40, 3),
    "500 x 20, 80 categories": (500, 640, 480, 20, 100, 80),
    "40 x 150, 3000 x 2000": (40, 3000, 2000, 150, 200, 2),
}
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def make(folder, images, width, height, instances, results, categories, seed=0):
    """A random pair of files: star-shaped polygons, results beside them as RLE, one in a hundred a crowd."""
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(seed)

    def star(points):
        radius = rng.uniform(8, min(width, height) / 8)
        angle = np.sort(rng.random(points)) * 2 * np.pi
        length = radius * rng.uniform(0.6, 1, points)
        center = rng.uniform(radius, [width - radius, height - radius])
        return (center + np.stack([np.cos(angle), np.sin(angle)], 1) * length[:, None]).round(2)

    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": width, "height": height} for i in range(1, images + 1)],
        "annotations": [],
        "categories": [{"id": k, "name": f"category {k}"} for k in range(1, categories + 1)],
    }
    found = []
    for image in truth["images"]:
        here = [(star(int(rng.integers(20, 60))), int(rng.integers(1, categories + 1))) for _ in range(instances)]
        for outline, category in here:
            rle = coco_mask.frPyObjects([outline.reshape(-1).tolist()], height, width)[0]
            crowd = bool(rng.random() < 0.01)
            flat = coco_mask.decode(rle).reshape(-1, order="F") if crowd else None
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": category,
                    "segmentation": {"size": [height, width], "counts": runs(flat)}
                    if crowd
                    else [outline.reshape(-1).tolist()],
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "area": float(coco_mask.area(rle)),
                    "iscrowd": int(crowd),
                }
            )
        for n in range(results):
            near = n < 0.9 * instances
            outline, category = here[n] if near else (star(40), int(rng.integers(1, categories + 1)))
            moved = outline + (rng.normal(0, 2, 2) if near else 0)
            rle = coco_mask.frPyObjects([moved.reshape(-1).tolist()], height, width)[0]
            found.append(
                {
                    "image_id": image["id"],
                    "category_id": category,
                    "score": round(float(rng.random()), 4),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "segmentation": {"size": [height, width], "counts": rle["counts"].decode()},
                }
            )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(found))


def make_crowded(folder, images, seed=0):
    """Cells by the thousand, as in LIVECell: 60 to 3,000 in an image of 704 x 520; nine of ten are found."""
    from pycocotools import mask as coco_mask

    width, height, points = 704, 520, 16
    rng = np.random.default_rng(seed)
    angle = np.arange(points) / points * 2 * np.pi
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    truth, found = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}, []
    for image in range(1, images + 1):
        truth["images"].append({"id": image, "file_name": f"{image}.jpg", "width": width, "height": height})
        number = int(min(3000, 60 + rng.exponential(122)))
        radius = rng.uniform(4, 9, (number, 1, 1)) * rng.uniform(0.7, 1, (number, points, 1))
        center = rng.uniform(9, [width - 9, height - 9], (number, 2))[:, None]
        outlines = (center + circle * radius).round(2)
        moved = (outlines + rng.normal(0, 1, (number, 1, 2)))[rng.random(number) < 0.9]
        for outline in outlines.reshape(number, -1).tolist():
            (rle,) = coco_mask.frPyObjects([outline], height, width)
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                    "segmentation": [outline], "bbox": coco_mask.toBbox(rle).tolist(),
                    "area": float(coco_mask.area(rle)),
                }
            )  # fmt: skip
        for outline, score in zip(moved.reshape(len(moved), -1).tolist(), rng.random(len(moved)).round(4), strict=True):
            (rle,) = coco_mask.frPyObjects([outline], height, width)
            found.append(
                {
                    "image_id": image, "category_id": 1, "score": float(score), "bbox": coco_mask.toBbox(rle).tolist(),
                    "segmentation": {"size": [height, width], "counts": rle["counts"].decode()},
                }
            )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(found))
    return len(truth["annotations"]), len(found)


def runs(flat):
    """COCO's uncompressed run lengths."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]]).astype(np.int8)))
    return np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()


def now():
    """Seconds on the clock, and of the CPU."""
    return np.array([time.perf_counter(), time.process_time()])


def file_reference(folder):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    began = now()
    truth = COCO(str(folder / "truth.json"))
    run = COCOeval(truth, truth.loadRes(str(folder / "results.json")), "segm")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return now() - began, [float(value) for value in run.stats]


def file_faster(folder):
    from faster_coco_eval import COCO, COCOeval_faster

    began = now()
    truth = COCO(str(folder / "truth.json"))
    run = COCOeval_faster(truth, truth.loadRes(str(folder / "results.json")), "segm")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return now() - began, [float(value) for value in run.stats[:12]]


def file_first(folder):
    (folder / ".truth.json.runs").unlink(missing_ok=True)
    return file_segkit(folder)


def boundary_segkit(folder):
    return file_segkit(folder, "boundary")


def file_segkit(folder, kind="segm"):
    from segkit.config.evaluate import EvalConfig
    from segkit.evaluation.results_file import evaluate_results

    config = EvalConfig(subject=folder / "results.json", data=folder / "truth.json", iou=(kind,))
    began = now()
    scores = getattr(evaluate_results(config).metrics, kind)
    return now() - began, [getattr(scores, name) for name in NUMBERS]


def batches(folder):
    """The first 200 pictures, four at a time, with their results."""
    from segkit.formats.coco.file import read_coco, read_results

    dataset, results = read_coco(folder / "truth.json"), read_results(folder / "results.json")
    images = dataset.images[:200]
    ids = {image.id for image in images}
    from dataclasses import replace

    part = replace(dataset, images=images, annotations=tuple(a for a in dataset.annotations if a.image_id in ids))
    of_image = {image.id: [r for r in results if r.image_id == image.id] for image in images}
    return part, [images[n : n + 4] for n in range(0, len(images), 4)], of_image


def loop_reference(folder):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    part, groups, _ = batches(folder)
    truth = COCO(str(folder / "truth.json"))
    records = json.loads((folder / "results.json").read_text())
    ids = [image.id for image in part.images]
    found = truth.loadRes([record for record in records if record["image_id"] in set(ids)])
    evaluations = {}
    for kind in ("segm", "bbox"):
        run = evaluations[kind] = COCOeval(truth, found, kind)
        pieces = []
        for group in groups:
            run.params.imgIds = [image.id for image in group]
            run.evaluate()
            shape = (len(run.params.catIds), len(run.params.areaRng), len(run.params.imgIds))
            pieces.append(np.asarray(run.evalImgs, dtype=object).reshape(shape))
        run.params.imgIds = ids
        run.evalImgs = list(np.concatenate(pieces, axis=2).reshape(-1))
        run._paramsEval = run.params
    began = now()
    for run in evaluations.values():
        run.accumulate()
        run.summarize()
    return now() - began, [float(v) for run in evaluations.values() for v in run.stats]


def loop_segkit(folder):
    from segkit.evaluation.coco.streaming import Stream

    part, groups, of_image = batches(folder)
    stream = Stream(part, ("segm", "bbox"))
    for group in groups:
        stream.add(group, [result for image in group for result in of_image[image.id]])
    began = now()
    metrics = stream.finish([stream.parts])
    seconds = now() - began
    return seconds, [getattr(part, name) for part in (metrics.segm, metrics.bbox) for name in NUMBERS]


ROADS = {
    f.__name__: f
    for f in (file_reference, file_faster, file_first, file_segkit, boundary_segkit, loop_reference, loop_segkit)
}
KINDS = {  # who takes turns
    "file": ("reference", "faster", "first", "segkit"),
    "loop": ("reference", "segkit"),
    "boundary": ("segkit",),
    "crowded": ("first", "segkit"),
}


def child(road, folder):
    with contextlib.redirect_stdout(io.StringIO()):
        (seconds, cpu), numbers = ROADS[road](Path(folder))
    # Not ru_maxrss, which begins with what the parent had.
    peak = 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    print(json.dumps({"seconds": seconds, "cpu": cpu, "numbers": numbers, "peak": peak}))


def measure(road, folder):
    command = [sys.executable, __file__, "--child", road, str(folder)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def take_turns(kind, folder, repeats, faster):
    """Each road of a kind several times, in turns; all must give the same numbers."""
    taken = {who: [] for who in KINDS[kind] if who != "faster" or faster}
    for _ in range(repeats):
        for who, times in taken.items():
            times.append(measure(f"{'file' if kind == 'crowded' else kind}_{who}", folder))
    exact = [t["numbers"] for who, times in taken.items() for t in times if who != "faster"]
    assert all(numbers == exact[0] for numbers in exact), "not equal"
    assert all(np.allclose(t["numbers"], exact[0], atol=1e-12) for t in taken.get("faster", ())), "not equal"
    row = {}
    for who, times in taken.items():
        seconds = [t["seconds"] for t in times]
        row[who] = {
            "median": round(statistics.median(seconds), 3), "least": round(min(seconds), 3),
            "most": round(max(seconds), 3), "CPU": round(statistics.median(t["cpu"] for t in times), 3),
            "peak_MiB": round(max(t["peak"] for t in times) / 2**20),
        }  # fmt: skip
    if "reference" in row:
        pairs = [a["seconds"] / b["seconds"] for a, b in zip(taken["reference"], taken["segkit"], strict=True)]
        row["times as fast"] = {
            "median": round(row["reference"]["median"] / row["segkit"]["median"], 1),
            "of CPU": round(row["reference"]["CPU"] / row["segkit"]["CPU"], 1),
            "least": round(min(pairs), 1),
            "most": round(max(pairs), 1),
        }
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each program")
    parser.add_argument("--images", type=int, help="so many pictures at most, to try it out")
    parser.add_argument("--only", help="workloads with this in their name")
    parser.add_argument("--out", type=Path, help="JSON file that receives the report")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    faster = find_spec("faster_coco_eval") is not None
    packages = ("pycocotools", "ultrafast-pycocotools", "numpy", *(["faster-coco-eval"] if faster else []))
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "versions": {name: version(name) for name in packages},
        "load": os.getloadavg(),
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        for name, sizes in {**WORKLOADS, "crowded": (1564,)}.items():
            if options.only and options.only not in name:
                continue
            folder, images = Path(temporary) / name.replace(" ", "_"), min(sizes[0], options.images or sizes[0])
            if name == "crowded":
                make_crowded(folder, images)
            else:
                make(folder, images, *sizes[1:])
            kinds = (
                ("crowded",) if name == "crowded" else ("file", "loop", "boundary") if sizes[0] >= 200 else ("file",)
            )
            for kind in kinds:
                row = take_turns(kind, folder, options.repeats, faster) | {"workload": f"{kind}: {name}"}
                report["rows"].append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    text = json.dumps(report, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return None


if __name__ == "__main__":
    main()
