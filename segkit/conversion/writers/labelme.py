"""LabelMe files and their images in one folder; reading them again gives the same instances.

Polygons stay polygons, run lengths become ``mask`` shapes, boxes without a mask rectangles; parts and groups share a
``group_id``. The split of a picture stands in the file under ``split``, a key that LabelMe keeps.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from segkit.conversion.names import unique_names
from segkit.conversion.output import OutputDataset
from segkit.data.records import BACKGROUND, IGNORE, Instance
from segkit.formats.labelme.write import labelme_document, mask_shape, write_labelme
from segkit.formats.shapes.instances import BOX_ONLY

_OWN = frozenset(
    {"label", "points", "shape_type", "mask", "group_id", "flags", "line_color", "fill_color", "fill", "description"}
)


def write_labelme_dataset(output: OutputDataset) -> None:
    """Write a JSON file next to every image, and ``labels.txt``."""
    names = unique_names([[image.name] for image in output.images], by_stem=True, taken=["report.json"])
    output.move_pictures(names)
    for (entry, _, split), name in zip(output.images_to_write(), names, strict=True):
        path = PurePosixPath(name)
        own = path.with_suffix(".json")
        image_path = output.reference(entry, own.parent.as_posix()) or path.name
        shapes = list(shapes_of(list(output.instances(entry))))
        document = labelme_document(shapes, image_path, entry.height, entry.width, entry.flags)
        write_labelme(document | ({"split": split} if output.names_splits else {}), output.root / own)
    output.write_lines("labels.txt", [IGNORE, BACKGROUND, *(category.name for category in output.categories)])


def shapes_of(instances: list[Instance]) -> Iterator[dict[str, Any]]:
    """The shapes of the instances of an image."""
    groups = [group for each in instances if (group := _own_group(each)) is not None]
    fresh = max(groups, default=0) + 1
    taken: set[tuple[str, int]] = set()
    for instance in instances:
        group = _own_group(instance)
        segmentation = instance.segmentation
        parts = len(segmentation) if isinstance(segmentation, list) else 1
        if (instance.label, group) in taken or (group is None and parts > 1):
            group, fresh = fresh, fresh + 1
        if group is not None:
            taken.add((instance.label, group))
        shape: dict[str, Any] = {"label": instance.label, "points": [], "group_id": group, "description": ""}
        shape |= {"shape_type": "polygon", "flags": {}, "mask": None} | _rest(instance)
        if instance.is_box:
            x, y, w, h = instance.bbox
            yield shape | {"shape_type": "rectangle", "points": [[x, y], [x + w, y + h]], BOX_ONLY: True}
        elif isinstance(segmentation, list):
            for part in segmentation:
                yield shape | {"points": [list(point) for point in zip(part[0::2], part[1::2], strict=True)]}
        else:
            points, bitmap = mask_shape(segmentation)
            yield shape | {"points": points, "shape_type": "mask", "mask": bitmap}


def _own_group(instance: Instance) -> int | None:
    group = instance.attributes.get("group_id")
    return group if isinstance(group, int) and not isinstance(group, bool) else None


def _rest(instance: Instance) -> dict[str, Any]:
    """Attributes as LabelMe has them: True values are flags, the others keys of the shape."""
    attributes = {name: value for name, value in instance.attributes.items() if name != "group_id"}
    flags = {name: True for name, value in attributes.items() if value is True}
    if instance.iscrowd and instance.label != IGNORE and not flags.keys() & {"crowd", "iscrowd"}:
        flags["iscrowd"] = True
    rest = {name: value for name, value in attributes.items() if name not in _OWN and value is not True}
    description = attributes.get("description")
    rest |= {"description": description} if isinstance(description, str) else {}
    odd = {name: attributes[name] for name in attributes if name in _OWN and name not in rest and name not in flags}
    return rest | {"flags": flags} | ({"other_attributes": odd} if odd else {})
