"""What ``predict --measure`` measures of the instances of one picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from segkit.data.depth import turned
from segkit.data.masks import Mask, rle_crop, to_rle
from segkit.data.overlaps import Crop, covered_pixels
from segkit.data.pictures import MAX_PIXELS, read_header
from segkit.data.pixel_size import PixelSize
from segkit.data.pixels import load_deep
from segkit.data.records import Result
from segkit.data.shape_measures import ShapeMeasures, measure_shape
from segkit.data.tiff_channels import look_at_channels, read_tiff_channels
from segkit.inference.choose import touches_edge
from segkit.inference.input_files import Picture
from segkit.inference.journal import PictureResults

_LENGTHS = ("perimeter", "centroid_x", "centroid_y", "equivalent_diameter", "feret_max", "feret_min", "nearest")


def measure_picture(done: PictureResults, names: dict[int, str]) -> dict[str, Any]:
    """All measures of a picture and of its instances, units in the names; absent where there is nothing to measure.

    Args:
        done: The picture and its instances.
        names: Category names by id.
    """
    crops = [_crop(result, done.height, done.width) for result in done.results]
    shapes = [None if crop is None else measure_shape(crop[2], *crop[:2]) for crop in crops]
    nearest = nearest_distances(shapes)
    values = None if done.pixels is None else stored_values(done.picture, done.pixels)
    instances = []
    for number, (result, crop, shape, near, covered) in enumerate(
        zip(done.results, crops, shapes, nearest, covered_pixels(crops), strict=True), 1
    ):
        row: dict[str, Any] = {"id": number, "category": names[result.category_id], "score": round(result.score, 4)}
        if result.bbox is not None:
            row |= zip(("x_px", "y_px", "width_px", "height_px"), (round(v, 2) for v in result.bbox), strict=True)
        row["at_edge"] = int(touches_edge(result, done.height, done.width))
        if crop is not None and shape is not None:
            row |= _shape_row(shape, near, done.pixel_size) | {"overlap_px2": covered}
            if values is not None:
                row |= intensities(values, crop)
        instances.append(row)
    size = done.pixel_size
    return {
        "file": done.picture.name,
        "height_px": done.height,
        "width_px": done.width,
        "pixel_size": None if size is None else size.value,
        "unit": None if size is None else size.unit,
        "instances": instances,
    }


def _crop(result: Result, height: int, width: int) -> Crop | None:
    return None if result.segmentation is None else rle_crop(to_rle(result.segmentation, height, width))


def _shape_row(shape: ShapeMeasures, nearest: float | None, size: PixelSize | None) -> dict[str, Any]:
    """In pixels, and in the unit of the pixel size if it is known."""
    plain = shape._asdict() | {"nearest": nearest}
    row = {f"{name}_px": plain[name] for name in _LENGTHS} | {"area_px2": shape.area}
    row |= {"circularity": shape.circularity, "solidity": shape.solidity, "orientation_deg": shape.orientation}
    if size is not None:
        row[f"area_{size.unit}2"] = shape.area * size.value**2
        row |= {f"{name}_{size.unit}": None if plain[name] is None else plain[name] * size.value for name in _LENGTHS}
    return {name: _rounded(value) for name, value in row.items() if value is not None}


def _rounded(value: float) -> float:
    """Six significant digits: more is not measured."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def nearest_distances(shapes: Sequence[ShapeMeasures | None]) -> list[float | None]:
    """The distance from each centroid to the nearest other one; None where there is no other."""
    places = [number for number, shape in enumerate(shapes) if shape is not None]
    out: list[float | None] = [None] * len(shapes)
    if len(places) > 1:
        centroids = [(shape.centroid_x, shape.centroid_y) for shape in shapes if shape is not None]
        distances, _ = cKDTree(centroids).query(centroids, k=2)
        for place, (_, distance) in zip(places, distances.tolist(), strict=True):
            out[place] = distance
    return out


def stored_values(picture: Picture, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The values of a picture as they are stored, also of more than 8 bits, upright: [H, W], or [H, W, C] of channels.

    Args:
        picture: The picture; frames of videos have 8 bits.
        pixels: As the model got it, RGB [H, W, 3].

    Raises:
        InputError: It cannot be decoded.
    """
    is_whole = picture.frame is None and picture.page in (None, 1)
    if is_whole and (found := look_at_channels(picture.path)) is not None:
        return read_tiff_channels(picture.path, found.channels, MAX_PIXELS)
    deep = None if picture.frame is not None else load_deep(picture.path, picture.page or 1)
    values = pixels if deep is None else turned(deep, read_header(picture.path).orientation)
    if values.ndim == 3 and (values[..., 0] == values[..., 1]).all() and (values[..., 0] == values[..., 2]).all():
        return values[..., 0]
    return values


def intensities(values: npt.NDArray[Any], crop: tuple[int, int, Mask]) -> dict[str, float]:
    """Mean and standard deviation (of all pixels: division by N) of each channel inside a mask."""
    top, left, bitmap = crop
    window = values[top : top + bitmap.shape[0], left : left + bitmap.shape[1]][bitmap > 0].astype(np.float64)
    row: dict[str, float] = {}
    for number, channel in enumerate(window.reshape(len(window), -1).T, 1):
        if np.isfinite(channel).all():
            row |= {f"mean_{number}": _rounded(float(channel.mean())), f"std_{number}": _rounded(float(channel.std()))}
    return row
