"""LabelMe files of the pictures with findings, with flags and descriptions on what may be wrong.

A file that LabelMe wrote keeps all it has: its shapes are described, and what may be missing is added. Annotations of
other formats become LabelMe files as ``convert --to labelme`` writes them.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.conversion.contents import AnnotatedImage, Contents
from segkit.conversion.names import unique_names
from segkit.conversion.writers.labelme import shapes_of
from segkit.data.files import path_inside, relative_path, temporary_file
from segkit.data.records import Instance
from segkit.formats.encoding import decode_text
from segkit.formats.labelme.write import labelme_document, result_shapes
from segkit.review.findings import CheckFinding

SUSPECT, PROPOSED = "suspect", "proposed"  # flags of shapes; the first of pictures, too
_MOST = 160  # letters of a description that LabelMe shows well


def write_fixes(contents: Contents, findings: Sequence[CheckFinding], src: Path, folder: Path) -> int:
    """Write a LabelMe file for each picture with findings, and return their number.

    Args:
        contents: What was checked.
        findings: What was found.
        src: Where the annotation files are.
        folder: A new folder, or an empty one.
    """
    by_image: dict[int, list[CheckFinding]] = defaultdict(list)
    for finding in findings:
        if finding.place is not None:
            by_image[finding.place[0]].append(finding)
    places = sorted(by_image)
    names = unique_names([[contents.images[n].name] for n in places], by_stem=True)
    for n, name in zip(places, names, strict=True):
        image = contents.images[n]
        target = path_inside(folder, str(Path(name).with_suffix(".json")))
        target.parent.mkdir(parents=True, exist_ok=True)
        source = _labelme_file(contents, image, src)
        document = _described(image, by_image[n]) if source is None else _patched(source, image, by_image[n])
        if document.get("imageData") is None:
            document["imagePath"] = _picture(image, Path(name), target)
        names_of_flags = document["flags"] if isinstance(document.get("flags"), dict) else {}
        document["flags"] = {**names_of_flags, SUSPECT: True}
        with temporary_file(target, inside=folder) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8", "backslashreplace")
    return len(places)


def _labelme_file(contents: Contents, image: AnnotatedImage, src: Path) -> Path | None:
    if contents.format != "labelme":
        return None
    path = src if src.is_file() else src / image.entry.key
    return path if path.is_file() else None


def _picture(image: AnnotatedImage, name: Path, target: Path) -> str:
    """The path from a file to its picture; one that had to be decoded is written beside it."""
    if image.entry.temporary is None and image.picture is not None:
        return relative_path(image.picture, target.parent)
    copy = target.with_name(name.name)
    if image.picture is not None:
        with temporary_file(copy) as temporary:
            temporary.write_bytes(image.picture.read_bytes())
    return copy.name


def _patched(source: Path, image: AnnotatedImage, findings: Sequence[CheckFinding]) -> dict[str, Any]:
    """A LabelMe file with flags and descriptions on its shapes, and proposed ones."""
    text, _ = decode_text(source.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    document: dict[str, Any] = json.loads(text, strict=False)
    shapes = document["shapes"]
    for finding in findings:
        number = None if finding.place is None or finding.place[1] is None else finding.annotation
        if number is not None and number < len(shapes) and isinstance(shapes[number], dict):
            for shape in _of_one_instance(shapes, number):
                _describe(shape, finding)
    document["shapes"] = [*shapes, *_proposed(image, findings)]
    return document


def _of_one_instance(shapes: Sequence[Any], number: int) -> list[dict[str, Any]]:
    """A shape, and those of its label and group."""
    first = shapes[number]
    group = first.get("group_id")
    return [
        shape
        for n, shape in enumerate(shapes)
        if n == number
        or (
            group is not None
            and isinstance(shape, dict)
            and (shape.get("label"), shape.get("group_id")) == (first.get("label"), group)
        )
    ]


def _describe(shape: dict[str, Any], finding: CheckFinding) -> None:
    flags = shape.get("flags")
    shape["flags"] = {**(flags if isinstance(flags, dict) else {}), SUSPECT: True, finding.kind: True}
    old = shape.get("description")
    shape["description"] = " | ".join(filter(None, (old if isinstance(old, str) else "", _text(finding))))


def _text(finding: CheckFinding) -> str:
    sure = "" if finding.confidence is None else f" ({finding.confidence:.0%})"
    return f"{finding.kind}{sure}: {finding.why}"[:_MOST]


def _described(image: AnnotatedImage, findings: Sequence[CheckFinding]) -> dict[str, Any]:
    """A LabelMe file of instances that another format has."""
    instances: list[Instance] = list(image.instances)
    for finding in findings:
        index = None if finding.place is None else finding.place[1]
        if index is None:
            continue
        old = instances[index].attributes
        description = " | ".join(filter(None, (str(old.get("description") or ""), _text(finding))))
        more = {SUSPECT: True, finding.kind: True, "description": description}
        instances[index] = replace(instances[index], attributes={**old, **more})
    shapes = [*shapes_of(instances), *_proposed(image, findings)]
    return labelme_document(shapes, "", *image.size, image.entry.flags)


def _proposed(image: AnnotatedImage, findings: Sequence[CheckFinding]) -> list[dict[str, Any]]:
    """Shapes of what may be missing."""
    shapes = []
    for finding in findings:
        if finding.kind == "missing" and finding.category is not None:
            for result in finding.predicted:
                names = {result.category_id: finding.category}
                for shape in result_shapes([result], names, *image.size):
                    flags = {SUSPECT: True, finding.kind: True, PROPOSED: True}
                    shapes.append(shape | {"flags": flags, "description": _text(finding)})
    return shapes
