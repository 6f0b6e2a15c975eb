"""Small drawn scenes of a road: LabelMe files in which sky and road are stuff, and cars are things."""

from pathlib import Path

import numpy as np
from labelme_files import shape, square, write
from PIL import Image

COLOURS = {"sky": (90, 140, 230), "road": (110, 110, 115), "car": (210, 40, 40)}
SIDE = 96


def road_scenes(folder: Path, count: int = 8) -> Path:
    """Draw scenes; between sky and road is a strip of grass that nobody annotates."""
    rng = np.random.default_rng(5)
    for number in range(count):
        horizon, edge = int(rng.integers(30, 40)), int(rng.integers(48, 56))
        pixels = rng.integers(0, 20, (SIDE, SIDE, 3), dtype=np.uint8) + np.uint8(40)
        regions = {"sky": (0, horizon), "road": (edge, SIDE)}
        shapes = []
        for name, (top, bottom) in regions.items():
            pixels[top:bottom] = COLOURS[name]
            shapes.append(shape(name, [[0, top], [SIDE, top], [SIDE, bottom], [0, bottom]]))
        for x in rng.choice([4, 34, 64], size=2, replace=False).tolist():
            y, side = int(rng.integers(58, 70)), int(rng.integers(18, 24))
            pixels[y : y + side, x : x + side] = COLOURS["car"]
            shapes.append(square(x, y, side, "car"))
        path = write(folder / f"scene_{number}.json", shapes, size=(SIDE, SIDE), picture=False)
        Image.fromarray(pixels).save(path.with_suffix(".png"))
    return folder
