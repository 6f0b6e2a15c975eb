"""The objects that VOC's XML files list: their names and boxes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from segkit.data.masks import measure
from segkit.data.polygons import REACH
from segkit.data.records import AnnotatedImage, Finding, Instance, ReadFile
from segkit.errors import InputError
from segkit.formats.pictures.look import declared_size, look
from segkit.formats.pictures.scale import scale_image
from segkit.formats.xml_file import read_xml


class VocObjects(NamedTuple):
    """The objects of an XML file, and what is wrong with the file, if something is."""

    nodes: Sequence[Element]
    broken: str = ""
    size: tuple[int, int] | None = None  # (height, width) of the image

    @property
    def boxes(self) -> list[Element]:
        """Those that say that they have no mask."""
        return [node for node in self.nodes if node.findtext("segmented") == "0"]

    @property
    def names(self) -> list[str]:
        """The names of the others, in the order of the file."""
        return [(node.findtext("name") or "").strip() for node in self.nodes if node.findtext("segmented") != "0"]


def read_objects_file(path: Path | None) -> VocObjects:
    """The objects in an XML file, in its order; None, and a broken file, has none."""
    if path is None:
        return VocObjects(())
    try:
        root = read_xml(path)
        size = declared_size(root.findtext("size/height"), root.findtext("size/width"))  # 0 by those who do not know
        objects = list(root.iter("object"))
        broken = "" if objects or root.tag == "annotation" else f"its XML file: <{root.tag}>, and not <annotation>"
        return VocObjects(objects, broken, size)
    except InputError as error:
        return VocObjects((), f"its XML file: {error.why(path.name)}")


def read_boxes(picture: Path, key: str, objects: VocObjects) -> ReadFile:
    """An image that has boxes alone. Never raises for bad input: that becomes a finding.

    Args:
        picture: The picture.
        key: Its name in reports.
        objects: Of its XML file.
    """
    try:
        own, frame, noticed = look(picture, key, objects.size)
    except InputError as error:
        return ReadFile.left_out(key, error.why(), len(objects.nodes))
    findings = list(noticed)
    instances = tuple(boxes_of(objects.nodes, key, *frame.drawn, findings))
    image = AnnotatedImage(key, own, *frame.drawn, instances, folder=key.rpartition("/")[0])
    image = scale_image(image, frame.size, key, findings)
    return ReadFile(image, tuple(findings), len(objects.nodes))


def _polygon(node: Element) -> list[float]:
    """The polygon of an object, as Roboflow (``x1``, ``y1``, ...) and LabelMe's first tool (``pt``) have it."""
    top = node.find("polygon")
    if top is None:
        return []
    points = [(point.findtext("x"), point.findtext("y")) for point in top.iterfind("pt")]
    while not points or points[-1] != (None, None):
        number = len(points) + 1
        points.append((top.findtext(f"x{number}"), top.findtext(f"y{number}")))
    try:
        values = [float(value) for x, y in points if x is not None and y is not None for value in (x, y)]
    except ValueError:
        return []
    return values if len(values) >= 6 and all(abs(value) < REACH for value in values) else []


def boxes_of(
    objects: Sequence[Element], key: str, height: int, width: int, findings: list[Finding]
) -> Iterator[Instance]:
    """The boxes of objects; VOC counts pixels from 1, and the last one is inside.

    Args:
        objects: The nodes of an XML file.
        key: Names the image in findings.
        height: Of the image.
        width: Likewise.
        findings: Takes what is no box.
    """
    for number, node in enumerate(objects):
        name = (node.findtext("name") or "").strip() or "object"
        own = {tag: True for tag in ("truncated", "difficult", "occluded") if node.findtext(tag) == "1"}
        if polygon := _polygon(node):
            area, bbox = measure([polygon], height, width)
            if area:
                yield Instance(name, [polygon], bbox, area, attributes=own)
                continue
            findings.append(
                Finding(key, "repaired", "a polygon that covers no pixel: its box is read", number, name, shapes=0)
            )
        try:
            sides = [float(node.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")]
            if not all(abs(side) < REACH for side in sides):
                raise ValueError("a box more than a million pixels away")
        except ValueError as error:
            why = "an object without a box of four numbers" if "float" in str(error) else str(error)
            findings.append(Finding(key, "left out", why, number, name))
            continue
        x, y = sides[0] - 1, sides[1] - 1
        try:
            yield Instance.of_box(name, (x, y, sides[2] - x, sides[3] - y), height, width, attributes=own)
        except ValueError as error:
            findings.append(Finding(key, "left out", str(error), number, name))
