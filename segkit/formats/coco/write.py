"""COCO JSON files, written entry by entry: memory does not grow with them.

Format: https://cocodataset.org/#format-data and #format-results; ``segkit.formats.coco.file`` has segkit's own keys.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from segkit.data.files import temporary_file
from segkit.data.records import Category, Image, Result

_encode = msgspec.json.Encoder().encode


def write_coco(
    path: Path,
    images: Iterable[Image],
    annotations: Iterable[bytes],
    categories: Sequence[Category | dict[str, Any]],
    info: dict[str, Any] | None = None,
) -> None:
    """Write an annotation file.

    Args:
        path: The file.
        images: Its images.
        annotations: Its annotations, encoded as JSON.
        categories: Its categories.
        info: What else is said of the file.
    """
    with temporary_file(path) as temporary, temporary.open("wb", buffering=1 << 20) as file:
        file.write(b'{"info":' + _encode(info or {}) + b',"images":')
        _write_list(file, (_encode(_image_record(image)) for image in images))
        file.write(b',"annotations":')
        _write_list(file, annotations)
        file.write(b',"categories":' + _encode(categories) + b"}")


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write a results file."""
    with temporary_file(path) as temporary, temporary.open("wb", buffering=1 << 20) as file:
        _write_list(file, (_encode(result_record(result)) for result in results))


def _write_list(file: BinaryIO, entries: Iterable[bytes]) -> None:
    separator = b"["
    for entry in entries:
        file.write(separator + entry)
        separator = b","
    file.write(b"]" if separator == b"," else b"[]")


def _image_record(image: Image) -> dict[str, Any]:
    """An image as COCO writes it; ``flags``, segkit's own key, only where there are some."""
    record = {"id": image.id, "file_name": image.file_name, "height": image.height, "width": image.width}
    return record | ({"flags": image.flags} if image.flags else {})


def result_record(result: Result) -> dict[str, Any]:
    """A result as COCO writes it: without a bbox or a segmentation where it has none."""
    return {field.name: value for field in fields(result) if (value := getattr(result, field.name)) is not None}
