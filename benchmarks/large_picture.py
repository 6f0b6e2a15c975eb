"""A large drawn TIFF, predicted in tiles: memory, time, and whether every disc is found with its area.

The model is not a trained one: it finds drawn discs exactly (tests/drawn_discs.py). So what is measured is reading,
tiles, merging over seams and writing, and the right answer is known.

    python benchmarks/large_picture.py --side 20000 --out /tmp/large
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from drawn_discs import disc_model

import segkit.inference.predict as prediction
from segkit.config.predict import PredictConfig
from segkit.data.masks import rle_area

STEP, SMALLEST, SIZES, TILE = 73, 14, 15, 512  # pixels between discs; radii 14 to 28; tiles of the file


def radius_of(row, column):
    return SMALLEST + (row * 31 + column * 17) % SIZES


def rows_of_picture(top, height, side):
    """Rows of the picture, [height, side, 3]."""
    rows, columns = np.arange(top, top + height)[:, None] + 0.5, np.arange(side)[None] + 0.5
    row, column = (rows // STEP).astype(int), (columns // STEP).astype(int)
    distance = (rows % STEP - STEP / 2) ** 2 + (columns % STEP - STEP / 2) ** 2
    inside = (distance <= radius_of(row, column) ** 2) & (row < side // STEP) & (column < side // STEP)
    red = (row + column) % 2 == 0
    pixels = np.zeros((height, side, 3), np.uint8)
    pixels[..., 0] = np.where(inside, np.where(red, 255, 40), 0)
    pixels[..., 1] = np.where(inside, np.where(red, 40, 255), 0)
    pixels[..., 2] = np.where(inside, 200, 0)
    return pixels


def tiles_of_file(side):
    for top in range(0, side, TILE):
        rows = rows_of_picture(top, min(TILE, side - top), side)
        for left in range(0, side, TILE):
            tile = np.zeros((TILE, TILE, 3), np.uint8)
            part = rows[:, left : left + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def drawn_areas(side):
    y, x = np.mgrid[:STEP, :STEP] + 0.5 - STEP / 2
    area = {r: int((y**2 + x**2 <= r**2).sum()) for r in range(SMALLEST, SMALLEST + SIZES)}
    rows, columns = np.mgrid[: side // STEP, : side // STEP]
    return sorted(area[r] for r in radius_of(rows, columns).ravel().tolist())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tile", default="1024")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    picture = options.out / "picture.tif"
    if not picture.exists():
        shape = (options.side, options.side, 3)
        tifffile.imwrite(
            picture, tiles_of_file(options.side), shape=shape, dtype=np.uint8, tile=(TILE, TILE), photometric="rgb",
            compression="zlib", bigtiff=True,
        )  # fmt: skip
    model = disc_model(options.out / "m.pt")
    prediction.load = lambda *_: model
    began = time.perf_counter()
    out = options.out / "predictions"
    config = PredictConfig(source=[str(picture)], out=out, tile=options.tile, overlap=128, format=("coco",), force=True)
    prediction.predict(config)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = sorted(rle_area(result["segmentation"]) for result in json.loads((out / "results.json").read_text()))
    drawn = drawn_areas(options.side)
    print(f"{len(found)} found of {len(drawn)} drawn, areas equal: {found == drawn}")
    print(f"{seconds:.0f} s, peak of the process {peak:.0f} MiB (drawing included)")


if __name__ == "__main__":
    main()
