"""Predicted instances in map coordinates: GeoJSON, and GeoPackage by GDAL (pyogrio).

Each instance is a polygon with its holes, or several, with the attributes id, category, score, area_px2, and area_m2
where the unit of the map is known.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from segkit.data.map_place import MapPlace
from segkit.data.masks import rle_area, to_rle
from segkit.data.records import Result
from segkit.extras import extra_package
from segkit.formats.outlines import parts_of, rings_of

Rings = list[npt.NDArray[np.float64]]  # of a polygon, on the map, closed: the outer one, and its holes
_POLYGON, _MULTIPOLYGON = 3, 6  # WKB
_UNKNOWN = 'LOCAL_CS["unknown",UNIT["unknown",1]]'
_NO_CLOCK = "1970-01-01T00:00:00.000Z"  # the same instances give the same bytes


def map_geojson(results: Sequence[Result], names: dict[int, str], height: int, width: int, place: MapPlace) -> bytes:
    """The instances of a picture as GeoJSON in the coordinates of its map, which the member ``crs`` names (2008).

    GDAL, QGIS and ArcGIS read that member. RFC 7946 has degrees only, which would move the outlines.

    Args:
        results: Of one picture.
        names: Category names by id.
        height: Of the picture.
        width: Likewise.
        place: Of the picture; it has an EPSG number.
    """
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPolygon", "coordinates": [[ring.tolist() for ring in part] for part in parts]},
            "properties": properties,
        }
        for parts, properties in _features(results, names, height, width, place)
    ]
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{place.epsg}"}}
    return msgspec.json.encode({"type": "FeatureCollection", "crs": crs, "features": features})


def geopackage(
    results: Sequence[Result], names: dict[int, str], height: int, width: int, place: MapPlace, layer: str
) -> bytes:
    """The instances of a picture as a GeoPackage (OGC 12-128r19) with one layer.

    Args:
        results: Of one picture.
        names: Category names by id.
        height: Of the picture.
        width: Likewise.
        place: Of the picture; without an EPSG number, the layer has an unknown coordinate system.
        layer: Its name.

    Raises:
        InputError: The package is not installed.
    """
    pyogrio: Any = extra_package("pyogrio", "--format gpkg", "geo")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _NO_CLOCK})
    found = list(_features(results, names, height, width, place))
    columns = {"id": np.int64, "category": object, "score": np.float64, "area_px2": np.float64}
    if place.pixel_area is not None:
        columns["area_m2"] = np.float64
    shapes = np.empty(len(found), object)
    shapes[:] = [_wkb(parts) for parts, _ in found]
    content = io.BytesIO()
    pyogrio.raw.write(
        content, shapes, [np.array([row[name] for _, row in found], kind) for name, kind in columns.items()],
        list(columns), layer=layer, driver="GPKG", geometry_type="MultiPolygon",
        crs=_UNKNOWN if place.epsg is None else f"EPSG:{place.epsg}",
    )  # fmt: skip
    return content.getvalue()


def _features(
    results: Sequence[Result], names: dict[int, str], height: int, width: int, place: MapPlace
) -> Iterator[tuple[list[Rings], dict[str, Any]]]:
    """The polygons of each instance on the map, and its attributes."""
    for number, result in enumerate(results, 1):
        outer, holes = rings_of(result, height, width)
        if not outer:
            continue
        parts = [[place.points([*ring, ring[0]]) for ring in part] for part in parts_of(outer, holes)]
        if result.segmentation is not None:
            area = float(rle_area(to_rle(result.segmentation, height, width)))
        else:
            assert result.bbox is not None
            area = result.bbox[2] * result.bbox[3]
        row = {
            "id": number, "category": names[result.category_id], "score": round(result.score, 6), "area_px2": area
        }  # fmt: skip
        if place.pixel_area is not None:
            row["area_m2"] = float(f"{area * place.pixel_area:.6g}")
        yield parts, row


def _wkb(parts: Sequence[Rings]) -> bytes:
    """A MultiPolygon in well-known binary, little-endian (OGC 06-103r4, 8.2)."""
    out = [struct.pack("<BII", 1, _MULTIPOLYGON, len(parts))]
    for part in parts:
        out.append(struct.pack("<BII", 1, _POLYGON, len(part)))
        for ring in part:
            out += [struct.pack("<I", len(ring)), ring.astype("<f8").tobytes()]
    return b"".join(out)
