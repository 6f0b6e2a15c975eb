"""How large a pixel is: as a user types it, or as a TIFF file says it.

Four kinds of TIFF say it: GeoTIFF (by its map coordinates), OME (``PhysicalSizeX``), ImageJ (``unit`` and the
resolution), and plain ones by their resolution, which is believed only from 1270 dots per inch on: 72 or 300 are for
printers.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

from segkit.errors import InputError

if TYPE_CHECKING:
    from segkit.data.map_place import MapPlace

_METRES = {"nm": 1e-9, "um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0}
_SPELLINGS = {"µm": "um", "\u03bcm": "um", "micron": "um", "microns": "um", "micrometer": "um", "\\u00b5m": "um"}
_CENTIMETRES = {2: 2.54, 3: 1.0}  # of the TIFF tag ResolutionUnit
_LARGEST = 20.0  # micrometres: a pixel of a plain TIFF that is larger is for a printer
_SQUARE = 0.01  # the share by which the sides of a pixel may differ


class PixelSize(NamedTuple):
    """The side of a pixel, and its unit: nm, um, mm, cm or m."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"

    def square_pixels(self, area: float, unit: str) -> float:
        """An area in squares of a unit, or of pixels (``px``), in square pixels."""
        return area if unit == "px" else area * (_METRES[unit] / _METRES[self.unit] / self.value) ** 2


def parse_pixel_size(text: str) -> PixelSize:
    """Read ``0.32um``.

    Raises:
        ValueError: It is no length.
    """
    found = re.fullmatch(r"\s*(\d*\.?\d+(?:[eE]-?\d+)?)\s*(\S+)\s*", text)
    unit = _unit(found[2]) if found else None
    if found is None or unit is None or not 0 < float(found[1]) < 1e9:
        raise ValueError(f"{text!r} is not a length such as 0.32um; units are {', '.join(_METRES)}")
    return PixelSize(float(found[1]), unit)


def parse_area(text: str) -> tuple[float, str]:
    """Read ``20``, ``20px`` or ``20um2``: an area and the unit whose squares it counts.

    Raises:
        ValueError: It is no area.
    """
    found = re.fullmatch(r"\s*(\d*\.?\d+(?:[eE]-?\d+)?)\s*(px2?|(\S+)2|)\s*", text)
    unit = None
    if found is not None:
        unit = _unit(found[3]) if found[3] and found[3] != "px" else "px"
    if found is None or unit is None or not float(found[1]) < 1e18:
        raise ValueError(f"{text!r} is not an area such as 20px or 20um2")
    return float(found[1]), unit


def _unit(text: str) -> str | None:
    unit = _SPELLINGS.get(text, text)
    return unit if unit in _METRES else None


def read_pixel_size(path: Path, page: int = 1) -> PixelSize | None:
    """What a TIFF file says of its pixels; None for other files, and where it says nothing.

    Args:
        path: The file.
        page: Of the file, from 1; map coordinates are those of a page, other sizes those of the file.

    Raises:
        InputError: Its pixels are not square, or its map coordinates are not lengths.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    from segkit.data.map_place import read_map_place  # noqa: PLC0415 -- it needs NumPy, and --help must not

    if (place := read_map_place(path, page)) is not None:
        return pixel_size_on_map(place, path)
    import tifffile  # noqa: PLC0415 -- few predictions need it

    try:
        with tifffile.TiffFile(path) as file:
            sides = _sides_of(file)
    except (tifffile.TiffFileError, ElementTree.ParseError, OSError, ValueError, KeyError, ZeroDivisionError):
        return None
    if sides is None:
        return None
    x, y, unit = sides
    if not 0 < x < 1e9 or not 0 < y < 1e9:
        return None
    if abs(x - y) > _SQUARE * max(x, y):
        raise InputError(f"{path}: its pixels are not square ({x:g} x {y:g} {unit})", "name a size: --pixel-size")
    return PixelSize(x, unit)


def pixel_size_on_map(place: "MapPlace", path: Path) -> PixelSize:
    """The side of the pixels of a picture that lies on the map, in metres.

    Raises:
        InputError: They are not square, or the coordinates are not lengths.
    """
    if place.metres is None:
        raise InputError(f"{path}: {place.why}", "name a size: --pixel-size")
    wide, tall = (side * place.metres for side in place.sides)
    if not place.is_square:
        raise InputError(f"{path}: its pixels are not square ({wide:g} x {tall:g} m)", "name a size: --pixel-size")
    return PixelSize(wide, "m")


def _sides_of(file: Any) -> tuple[float, float, str] | None:
    """Width and height of a pixel, and their unit."""
    if file.is_ome and (found := _of_ome(file.ome_metadata)) is not None:
        return found
    tags = file.pages[0].tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return None
    x, y = (_ratio(tags[name].value) for name in ("XResolution", "YResolution"))
    if not x or not y:
        return None
    if file.is_imagej:
        unit = _unit(str((file.imagej_metadata or {}).get("unit", "")))
        return (1 / x, 1 / y, unit) if unit is not None else None
    scale = _CENTIMETRES.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 0)
    if scale is None or scale * 1e4 / x > _LARGEST:
        return None
    return scale * 1e4 / x, scale * 1e4 / y, "um"


def _ratio(value: Sequence[int] | float) -> float:
    return value[0] / value[1] if isinstance(value, Sequence) else float(value)


def _of_ome(text: str) -> tuple[float, float, str] | None:
    """The physical size of the first image's pixels in OME's XML."""
    for element in ElementTree.fromstring(text).iter():
        if element.tag.rpartition("}")[2] == "Pixels" and "PhysicalSizeX" in element.attrib:
            own = element.attrib
            unit = _unit(own.get("PhysicalSizeXUnit", "um"))  # OME's default
            if unit is None or own.get("PhysicalSizeYUnit", "um") != own.get("PhysicalSizeXUnit", "um"):
                return None
            return float(own["PhysicalSizeX"]), float(own.get("PhysicalSizeY", own["PhysicalSizeX"])), unit
    return None
