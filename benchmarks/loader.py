"""The loader beside a dataset written as torchvision's detection reference has it: speed, bytes, and workers' memory.

    python benchmarks/loader.py [--samples 24] [--instances 25] [--annotations 100000]

Three measurements, on pictures that it draws itself (2000 x 1500 JPEGs):

1. CPU seconds for a sample, decoding included, both in this process on one thread, alternating, medians and spread.
2. Bytes of a sample as it crosses from a worker to the trainer.
3. What a forked worker comes to own by reading every annotation once: annotations as records in lists, and as
   segkit's flat arrays. Measured as private dirty memory (``/proc/self/smaps_rollup``), so Linux only.

The reference is written here after the recipe of torchvision's ``references/detection``: PIL decodes, every polygon
becomes a bitmap of the whole picture, the picture becomes fp32, and half of the samples are flipped with their masks.
It leaves resizing to the model; segkit's sample is resized.
"""

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from pycocotools import mask as coco_mask

from segkit.data.geometry import Framing
from segkit.data.records import Annotation, Category, Dataset, Image
from segkit.loading.dataset import Pictures
from segkit.loading.packed import FlatAnnotations
from segkit.loading.sampler import Key
from segkit.loading.whole import Sample

HEIGHT, WIDTH = 1500, 2000


def draw(folder: Path, count: int, instances: int) -> Dataset:
    """Noisy pictures of just under a megabyte each, with polygons of 20 to 119 points."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, count + 1):
        coarse = rng.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8)
        PilImage.fromarray(coarse).resize((WIDTH, HEIGHT), PilImage.Resampling.BICUBIC).save(
            folder / f"{number}.jpg", quality=75
        )
        images.append(Image(number, f"{number}.jpg", HEIGHT, WIDTH))
        for _ in range(instances):
            points = int(rng.integers(20, 120))
            angles = np.sort(rng.uniform(0, 2 * np.pi, points))
            radius = rng.uniform(30, 150) * rng.uniform(0.8, 1.2, points)
            centre = rng.uniform((150, 150), (WIDTH - 150, HEIGHT - 150))
            outline = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
            low, high = outline.min(0), outline.max(0)
            box = (*low, *(high - low))
            annotations.append(
                Annotation(len(annotations) + 1, number, 1, [outline.ravel().tolist()], box, float(np.prod(high - low)))
            )
    return Dataset(tuple(images), tuple(annotations), (Category(1, "part"),), folder)


class ReferenceStyle(torch.utils.data.Dataset):
    """What the detection reference does for a sample."""

    def __init__(self, dataset: Dataset) -> None:
        self._folder, self._images, self._of = dataset.images_dir, list(dataset.images), dataset.annotations_of()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image = self._images[index]
        picture = PilImage.open(self._folder / image.file_name).convert("RGB")
        masks, boxes = [], []
        for annotation in self._of[image.id]:
            bitmap = coco_mask.decode(coco_mask.frPyObjects(annotation.segmentation, image.height, image.width))
            masks.append(torch.as_tensor(bitmap, dtype=torch.uint8).any(dim=2))
            x, y, w, h = annotation.bbox
            boxes.append((x, y, x + w, y + h))
        stacked = torch.stack(masks)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255
        if index % 2:
            pixels, stacked = pixels.flip(-1), stacked.flip(-1)
        return pixels, {"masks": stacked, "boxes": torch.tensor(boxes)}


def size_of(value: object) -> int:
    """Bytes of the tensors in a sample."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(size_of(each) for each in value.values())
    if isinstance(value, tuple | list):
        return sum(size_of(each) for each in value)
    return 0


def speed_and_bytes(dataset: Dataset) -> dict[str, object]:
    """Both loaders over the same pictures, one after the other."""
    reference = ReferenceStyle(dataset)
    ours = Pictures(dataset, Framing("instances", 800, 1333), seed=0, augment="light", accept_boxes=False)
    times: dict[str, list[float]] = {"reference": [], "segkit": []}
    sizes: dict[str, list[int]] = {"reference": [], "segkit": []}
    for index in range(-2, len(reference)):  # two to warm up
        for name, load in (("reference", reference.__getitem__), ("segkit", lambda i: ours[Key(0, i)])):
            began = time.process_time()
            sample = load(index % len(reference))
            spent = time.process_time() - began
            assert not isinstance(sample, Exception), sample
            if index >= 0:
                times[name].append(spent)
                sizes[name].append(size_of(tuple(sample)[:2] if isinstance(sample, Sample) else sample))
    out: dict[str, object] = {}
    for name, spent in times.items():
        low, mid, high = (1000 * q for q in statistics.quantiles(spent, n=4))
        out[name] = {"ms": round(mid, 1), "ms_quartiles": [round(low, 1), round(high, 1)],
                     "bytes": round(statistics.mean(sizes[name]))}  # fmt: skip
    pairs = [a / b for a, b in zip(times["reference"], times["segkit"], strict=True)]
    low, mid, high = statistics.quantiles(pairs, n=4)
    out["times_as_fast"] = {"median": round(mid, 1), "quartiles": [round(low, 1), round(high, 1)]}
    out["share_of_bytes"] = round(statistics.mean(sizes["segkit"]) / statistics.mean(sizes["reference"]), 4)
    return out


def private_dirty() -> int:
    """Bytes of this process that it shares with nobody and has written to."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("the kernel does not say")


def growth(read_all: Callable[[], None]) -> int:
    """What a forked worker comes to own by a function, beside what a worker that does nothing owns."""
    gc.collect()
    gc.freeze()  # or the collector itself would write to every object
    figures = []
    for work in (lambda: None, read_all):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            gc.disable()
            before = private_dirty()
            work()
            os.write(writer, str(private_dirty() - before).encode())
            os._exit(0)
        os.waitpid(child, 0)
        figures.append(int(os.read(reader, 32)))
        os.close(reader)
        os.close(writer)
    return figures[1] - figures[0]


def memory(annotations: int) -> dict[str, object]:
    """Annotations of 70 points each, 25 in an image, as records and as flat arrays."""
    rng = np.random.default_rng(0)
    per_image = 25
    images = tuple(Image(i + 1, f"{i}.jpg", HEIGHT, WIDTH) for i in range(annotations // per_image))
    records = tuple(
        Annotation(a + 1, a // per_image + 1, 1, [(rng.random(140) * 1000).tolist()], (0.0, 0.0, 1.0, 1.0), 1.0)
        for a in range(annotations // per_image * per_image)
    )
    dataset = Dataset(images, records, (Category(1, "part"),), Path())

    def read_records() -> None:
        for record in dataset.annotations:
            assert isinstance(record.segmentation, list)
            for part in record.segmentation:
                sum(part)

    flat = FlatAnnotations(dataset, {1: 1}, accept_boxes=False)

    def read_flat() -> None:
        for index in range(len(flat)):
            for item in flat.items(index):
                for part in item.segmentation:
                    sum(part)

    return {"annotations": len(records), "records_grow_by": growth(read_records), "flat_grows_by": growth(read_flat)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--instances", type=int, default=25)
    parser.add_argument("--annotations", type=int, default=100_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    import cv2

    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        dataset = draw(Path(folder), asked.samples, asked.instances)
        figures = {"instances": asked.instances, **speed_and_bytes(dataset), "load_average": os.getloadavg()[0]}
    print(json.dumps(figures))
    print(json.dumps(memory(asked.annotations)))


if __name__ == "__main__":
    main()
