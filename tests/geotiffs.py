"""GeoTIFF files with known coordinates, written tag by tag."""

from pathlib import Path

import tifffile

METRES, DEGREES = {1024: 1, 3072: 32633, 3076: 9001}, {1024: 2, 2048: 4326}
"""GeoKeys: UTM zone 33 north in metres; WGS 84."""


def north_up(x, y, side):
    """Tags of a picture whose upper left corner is at (x, y), with pixels of this side."""
    sides = side if isinstance(side, tuple) else (side, side)
    return [(33550, "d", 3, (*sides, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, x, y, 0.0), True)]


def turned(a, b, c, d, e, f):
    """Tags of a picture with a transformation."""
    return [(34264, "d", 16, (a, b, 0.0, c, d, e, 0.0, f, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), True)]


def save_geotiff(path: Path, pixels, tags, keys=METRES, **options):
    """Write pixels with tags and GeoKeys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = [1, 1, 0, len(keys)]
    for number, value in sorted(keys.items()):
        directory += [number, 0, 1, value]
    more = [(34735, "H", len(directory), tuple(directory), True)]
    tifffile.imwrite(path, pixels, extratags=[*tags, *more], metadata=None, **options)
    return path
