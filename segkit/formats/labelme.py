"""LabelMe -> annotated images: which picture, which frame, which shapes make one instance."""

from collections import defaultdict
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from segkit.dataset import AnnotatedImage, Finding, Instance, Picture, Polygons, Segmentation
from segkit.errors import InputError
from segkit.formats.labelme_json import LabelmeFile, read_image_data, read_labelme
from segkit.formats.shapes import Drawing, NoRegion, Point, Shape, to_region
from segkit.masks import rle_area, rle_bbox, subtract, to_rle, union
from segkit.pictures import Header, check_decodes, find_picture, read_header

IGNORE, BACKGROUND = "__ignore__", "_background_"  # LabelMe's convention in labels.txt
_EXIF_APPLIED_SINCE = (3, 11)  # before, LabelMe showed and annotated the unturned pixels
_CROWD_FLAGS = frozenset({"crowd", "iscrowd"})
_EMBEDDED_SUFFIX = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "GIF": ".png",
}


@dataclass(frozen=True, slots=True)
class LabelmeOptions:
    """How to read what LabelMe leaves open."""

    images_dir: Path | None = None
    drawing: Drawing = Drawing()
    hole_label: str | None = None
    drop_flag: str | None = None


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What came of one file: an image (None: nothing could be made of it), and what did not go over as it was."""

    image: AnnotatedImage | None
    findings: tuple[Finding, ...]
    num_shapes: int = 0


def read(path: Path, key: str, options: LabelmeOptions = LabelmeOptions()) -> ReadFile:
    """Read one LabelMe file, of whatever release. Never raises for bad input: that becomes a finding.

    Args:
        path: The JSON file.
        key: Its name in reports.
        options: What LabelMe leaves open.
    """
    findings: list[Finding] = []
    try:
        source = read_labelme(path)
        if source is None:
            return ReadFile(None, (Finding(key, "left out", "not a LabelMe file"),))
        if options.drop_flag in source.flags:
            return ReadFile(None, (Finding(key, "left out", f"flagged {options.drop_flag!r}"),), len(source.shapes))
        if source.code_page:
            findings.append(Finding(key, "repaired", f"not UTF-8; read as {source.code_page}"))
        picture, (height, width) = _frame(path, key, source, options, findings)
    except InputError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return ReadFile(None, (*findings, Finding(key, "left out", error.message + hint)))
    shapes = [
        shape for number, raw in enumerate(source.shapes) if (shape := _shape(raw, number, key, findings)) is not None
    ]
    instances = _instances(shapes, key, height, width, options, findings)
    return ReadFile(AnnotatedImage(key, picture, height, width, instances), tuple(findings), len(source.shapes))


def _frame(
    path: Path, key: str, source: LabelmeFile, options: LabelmeOptions, findings: list[Finding]
) -> tuple[Picture, tuple[int, int]]:
    """The picture that was annotated, and the (height, width) of the frame its points are in."""
    if source.has_image_data:
        header = read_header(read_image_data(path), "imageData")
        name = path.stem + _EMBEDDED_SUFFIX.get(header.format, ".png")
        where, file, embedded = "embedded picture", None, path
    else:
        found = find_picture(path, source.image_path, options.images_dir)
        if found is None:
            names = f"picture {source.image_path!r} not found" if source.image_path else "names no picture"
            raise InputError(names, "put it beside the file or name its folder with --images-dir")
        if found.guess:
            findings.append(Finding(key, "repaired", found.guess))
        header = read_header(found.path, found.path.name)
        name, where, file, embedded = found.path.name, found.path.name, found.path, None
    stored = (header.height, header.width)
    turn = _turns(header, source)
    frame = header.upright if turn else stored
    exif = "apply" if turn else "drop" if header.orientation != 1 else "none"
    resize = False
    if source.size is not None and source.size != frame:
        says = f"imageHeight x imageWidth is {source.size[0]}x{source.size[1]}"
        if _fits(source.shapes, source.size) or not _fits(source.shapes, frame):
            findings.append(
                Finding(key, "changed", f"{says}, {where} has {frame[0]}x{frame[1]}: picture scaled to the points")
            )
            frame, resize = source.size, True
        else:
            findings.append(Finding(key, "repaired", f"{says}, but {where} and the points have {frame[0]}x{frame[1]}"))
    if file is not None and (exif != "none" or resize):
        check_decodes(file)  # it is going to be written anew
    return Picture(name, file, embedded, exif, resize), frame  # type: ignore[arg-type]


def _turns(header: Header, source: LabelmeFile) -> bool:
    """Whether the points were drawn on the picture as its orientation tag turns it."""
    if header.orientation == 1:
        return False
    if header.upright != (header.height, header.width) and source.size is not None:
        if source.size == header.upright:
            return True
        if source.size == (header.height, header.width):
            return False
    return source.version >= _EXIF_APPLIED_SINCE


def _fits(shapes: list[Any], size: tuple[int, int]) -> bool:
    """Whether all points lie in the frame, with a pixel to spare."""
    points = [p for raw in shapes if isinstance(raw, dict) for p in (_points(raw.get("points")) or ())]
    return all(-1 <= x <= size[1] + 1 and -1 <= y <= size[0] + 1 for x, y in points)


def _points(raw: Any) -> list[Point] | None:
    """Points as pairs of finite numbers; None if they are anything else."""
    if not isinstance(raw, list):
        return None
    points = []
    for pair in raw:
        if not (isinstance(pair, list) and len(pair) == 2):
            return None
        x, y = pair
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and isfinite(v) for v in (x, y)):
            return None
        points.append((x, y))
    return points


def _shape(raw: Any, number: int, key: str, findings: list[Finding]) -> Shape | None:
    """One entry of ``shapes``; None, and a finding, if no sense can be made of it."""
    if not isinstance(raw, dict):
        findings.append(Finding(key, "left out", "not a shape", number))
        return None
    label, kind, points = raw.get("label"), raw.get("shape_type") or "polygon", _points(raw.get("points"))
    kind = kind if isinstance(kind, str) else repr(kind)
    if isinstance(label, int | float) and not isinstance(label, bool):
        findings.append(Finding(key, "repaired", f"label {label} is a number; read as text", number, str(label), kind))
        label = str(label)
    if not isinstance(label, str) or not label:
        findings.append(Finding(key, "left out", "no label", number, None, kind))
        return None
    if points is None:
        findings.append(Finding(key, "left out", "points are not pairs of numbers", number, label, kind))
        return None
    group, mask = raw.get("group_id"), raw.get("mask")
    return Shape(
        number=number,
        label=label,
        shape_type=kind,
        points=points,
        group_id=group if isinstance(group, int | str) and not isinstance(group, bool) else None,
        mask=mask if isinstance(mask, str) else None,
        attributes=_attributes(raw),
    )


_GEOMETRY = frozenset({"label", "points", "shape_type", "mask", "group_id", "line_color", "fill_color", "fill"})


def _attributes(raw: dict[str, Any]) -> dict[str, Any]:
    """What an annotator said of a shape beyond its outline: flags that are on, description, keys of other tools."""
    attributes = {name: value for name, value in raw.items() if name not in _GEOMETRY and value not in (None, "", {})}
    if isinstance(flags := attributes.pop("flags", None), dict):
        attributes |= {name: True for name, on in flags.items() if on}
    return attributes


def _instances(
    shapes: list[Shape], key: str, height: int, width: int, options: LabelmeOptions, findings: list[Finding]
) -> tuple[Instance, ...]:
    """Join the shapes of one label and group into instances, in the order in which they were begun.

    LabelMe's rule: shapes of one image with the same label and ``group_id`` are one instance, their union; without
    a ``group_id`` a shape is its own instance.
    """
    groups: dict[Any, list[tuple[Shape, Segmentation]]] = {}
    holes: dict[Any, list[Segmentation]] = defaultdict(list)
    for shape in shapes:

        def leave_out(why: str, shape: Shape = shape) -> None:
            findings.append(Finding(key, "left out", why, shape.number, shape.label, shape.shape_type))

        try:
            region = to_region(shape, height, width, options.drawing)
        except NoRegion as why:
            leave_out(str(why))
            continue
        if shape.label == BACKGROUND:
            leave_out("background is what no shape covers")
        elif options.hole_label is not None and shape.label == options.hole_label:
            if shape.group_id is None:
                leave_out("a hole needs the group_id of the instance that it is in")
            else:
                holes[shape.group_id].append(region)
        else:
            group = shape.number if shape.group_id is None else ("group", shape.group_id)
            groups.setdefault((shape.label, group), []).append((shape, region))
    instances = []
    for (label, _), parts in groups.items():
        first = parts[0][0]
        cut = holes.get(first.group_id, []) if first.group_id is not None else []
        segmentation = _join([region for _, region in parts], cut, height, width)
        rle = to_rle(segmentation, height, width)
        if (area := rle_area(rle)) == 0:
            for shape, _ in parts:
                nothing = "covers no pixel of the image"
                findings.append(Finding(key, "left out", nothing, shape.number, label, shape.shape_type))
            continue
        attributes: dict[str, Any] = {}
        for shape, _ in parts:
            attributes |= shape.attributes or {}
        if first.group_id is not None:
            attributes["group_id"] = first.group_id
        crowd = label == IGNORE or any(attributes.get(flag) is True for flag in _CROWD_FLAGS)
        instances.append(Instance(label, segmentation, rle_bbox(rle), area, int(crowd), attributes))
    return tuple(instances)


def _join(parts: list[Segmentation], holes: list[Segmentation], height: int, width: int) -> Segmentation:
    """The union of parts less the holes: polygons where they say it exactly, else RLE."""
    if len(parts) == 1 and not holes:
        return parts[0]
    rles = [to_rle(part, height, width) for part in parts]
    whole = union(rles)
    polygons: Polygons = [polygon for part in parts if isinstance(part, list) for polygon in part]
    apart = sum(rle_area(rle) for rle in rles) == rle_area(whole)  # no pixel is in two parts
    if apart and not holes and all(isinstance(part, list) for part in parts):
        return polygons
    for hole in holes:
        whole = subtract(whole, to_rle(hole, height, width))
    return whole
