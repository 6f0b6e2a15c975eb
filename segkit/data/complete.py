"""Whether an image file is complete: a copy that was cut off has a good header and no end.

The end of the file is read, and nothing is decoded, where the format says how a file ends or how long it is.
"""

from pathlib import Path
from typing import Any

from segkit.data.pictures import check_size, opened
from segkit.errors import InputError

_TAIL = 64  # bytes at the end: cameras put padding behind a JPEG
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
_OFFSETS, _COUNTS = (273, 324), (279, 325)  # tags of TIFF: where strips and tiles begin, how long they are


def check_complete(path: Path, name: str, format: str) -> None:
    """See whether a picture was cut off.

    Args:
        path: The file.
        name: In messages.
        format: Its format, as ``read_header`` returns it.

    Raises:
        InputError: It was, or it cannot be decoded.
    """
    if _ends_well(path, format):
        return
    with opened(path, name) as picture:
        if format == "TIFF" and _has_all_strips(picture, path):
            return
        check_size(picture, path, name)
        try:
            picture.load()
        except OSError as error:
            raise InputError(f"{name}: is cut off or damaged: {error}", "copy it again, or remove it") from error


def _ends_well(path: Path, format: str) -> bool:
    """Whether the file is certainly complete."""
    with path.open("rb", buffering=0) as file:
        head = file.read(8)
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    match format:
        case "WEBP":
            return int.from_bytes(head[4:8], "little") + 8 <= size
        case "BMP":
            return 54 < int.from_bytes(head[2:6], "little") <= size
        case "GIF":
            return tail.rstrip(b"\0").endswith(b";")
    return format in _ENDS and _ENDS[format] in tail


def _has_all_strips(picture: Any, path: Path) -> bool:
    """Whether the file is as long as the directory of a TIFF says; of its first page."""
    tags, size = picture.tag_v2, path.stat().st_size
    for offsets, counts in zip(_OFFSETS, _COUNTS, strict=True):
        begins, lengths = tags.get(offsets), tags.get(counts)
        if begins and lengths and len(begins) == len(lengths):
            return all(begin + length <= size for begin, length in zip(begins, lengths, strict=True))
    return False
