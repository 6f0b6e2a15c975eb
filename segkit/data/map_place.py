"""Where a GeoTIFF lies on the map: from pixels to map coordinates, as its tags say (OGC 19-008r4)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.errors import InputError

_PROJECTED, _GEOGRAPHIC = 1, 2  # GTModelTypeGeoKey
_PIXEL_IS_POINT = 2  # GTRasterTypeGeoKey: coordinates are those of the centres of pixels
_NO_CODE = (0, 32767)  # undefined, and defined by the user
_UNITS = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937, 9036: 1000.0}  # EPSG: metre, foot, US survey foot, kilometre
# World Mercator: at 60 degrees of latitude, a metre of the map is half a metre on the ground.
_MERCATOR = frozenset((3395, 3785, 3857, 900913, 102100))
_ORIENTATION = 274  # the TIFF tag


class MapPlace(NamedTuple):
    """Where a picture lies on the map.

    Attributes:
        transform: (a, b, c, d, e, f): a point (x, y) of the picture, in pixels from its upper left corner, is at
            (a x + b y + c, d x + e y + f) on the map.
        epsg: The number of the coordinate system in the EPSG register; None: it has none.
        metres: Of a unit of the map on the ground; None: not known, or it is not the same everywhere.
        why: Why ``metres`` is None, in words.
    """

    transform: tuple[float, float, float, float, float, float]
    epsg: int | None
    metres: float | None
    why: str = ""

    def points(self, ring: Sequence[tuple[int, int]]) -> npt.NDArray[np.float64]:
        """Points of the picture on the map, [N, 2]; more digits than a thousandth of a pixel are left out."""
        a, b, c, d, e, f = self.transform
        xy = np.asarray(ring, np.float64).reshape(-1, 2)
        there = np.stack([a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f], axis=1)
        return np.asarray(there.round(max(0, 3 - math.floor(math.log10(min(self.sides))))))

    @property
    def sides(self) -> tuple[float, float]:
        """Width and height of a pixel, in units of the map."""
        a, b, _, d, e, _ = self.transform
        return math.hypot(a, d), math.hypot(b, e)

    @property
    def pixel_area(self) -> float | None:
        """Of a pixel, in square metres; None where it is not known."""
        a, b, _, d, e, _ = self.transform
        return None if self.metres is None else abs(a * e - b * d) * self.metres**2

    @property
    def is_square(self) -> bool:
        """Whether its pixels are squares, to one part in a hundred; they may be turned."""
        a, b, _, d, e, _ = self.transform
        wide, tall = self.sides
        return abs(wide - tall) <= 0.01 * max(wide, tall) and abs(a * b + d * e) <= 0.01 * wide * tall


def read_map_place(path: Path, page: int = 1) -> MapPlace | None:
    """Where a TIFF file says that it lies; None where it does not say so, and for other files.

    Args:
        path: The file.
        page: Of the file, from 1.

    Raises:
        InputError: Its coordinates are control points, or damaged; or the picture is turned by its orientation tag.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    import tifffile  # noqa: PLC0415 -- few predictions need it

    try:
        with tifffile.TiffFile(path) as file:
            found = file.pages[page - 1]
            keys = found.geotiff_tags if found.is_geotiff else None
            tag = found.tags.get(_ORIENTATION)
    except Exception:  # tifffile's, of any kind: whoever decodes the file says what is wrong with it
        return None
    if keys is None or (transform := _transform(keys, path)) is None:
        return None
    if tag is not None and tag.value != 1:
        raise InputError(f"{path}: has map coordinates and is turned by its orientation tag", "save it upright")
    epsg, metres, why = _system(keys)
    return MapPlace(transform, epsg, metres, why)


def _transform(keys: Mapping[str, Any], path: Path) -> tuple[float, float, float, float, float, float] | None:
    """From pixels, counted from the upper left corner, to the map.

    Raises:
        InputError: There are control points only, or numbers without sense.
    """
    if (matrix := keys.get("ModelTransformation")) is not None:
        (a, b, _, c), (d, e, _, f) = matrix[:2]
    elif (scale := keys.get("ModelPixelScale")) is not None and (ties := keys.get("ModelTiepoint")) is not None:
        column, row, _, x, y, _ = ties[0] if isinstance(ties[0], Sequence) else ties
        a, b, d, e = scale[0], 0.0, 0.0, -scale[1]
        c, f = x - a * column, y - e * row
    elif keys.get("ModelTiepoint") is not None:
        raise InputError(
            f"{path}: its map coordinates are control points, which need a warp", "make it straight: gdalwarp"
        )
    else:
        return None
    if keys.get("GTRasterTypeGeoKey") == _PIXEL_IS_POINT:
        c, f = c - (a + b) / 2, f - (d + e) / 2
    numbers = tuple(float(each) for each in (a, b, c, d, e, f))
    if not all(map(math.isfinite, numbers)) or not a * e - b * d:
        raise InputError(f"{path}: its map coordinates are damaged", "write them again: gdal_edit.py -a_ullr")
    a, b, c, d, e, f = numbers
    return a, b, c, d, e, f


def _system(keys: Mapping[str, Any]) -> tuple[int | None, float | None, str]:
    """The EPSG number, the metres of a unit, and why these are not known."""
    projected, geographic = (_code(keys.get(name)) for name in ("ProjectedCSTypeGeoKey", "GeographicTypeGeoKey"))
    kind = keys.get("GTModelTypeGeoKey")
    if kind == _GEOGRAPHIC or (kind != _PROJECTED and projected is None and geographic is not None):
        return geographic, None, "its coordinates are in degrees, not in metres"
    if projected in _MERCATOR:
        return projected, None, f"its projection (EPSG:{projected}, Mercator) enlarges areas away from the equator"
    metres = _UNITS.get(_code(keys.get("ProjLinearUnitsGeoKey")) or 0)
    return projected, metres, "" if metres else "it does not say in which unit its map coordinates are"


def _code(value: Any) -> int | None:
    """The number of a code; None where the user has defined it."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return None if number in _NO_CODE else number
