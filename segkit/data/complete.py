"""Whether an image file is complete: a copy that was cut off has a good header and no end.

The end of the file is read, and nothing is decoded, where the format says how a file ends or how long it is.
"""

from pathlib import Path
from typing import Any

from segkit.data.pictures import MAX_PIXELS, check_size, opened
from segkit.data.tiff_channels import look_at_channels, read_tiff_channels
from segkit.errors import InputError

_HEAD = 8
_TAIL = 64  # bytes at the end: cameras put padding behind a JPEG
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_OFFSETS, _COUNTS = (273, 324), (279, 325)  # tags of TIFF: where strips and tiles begin, how long they are


def check_complete(source: Path | bytes, name: str, format: str) -> None:
    """See whether a picture was cut off.

    Args:
        source: The file, or its bytes.
        name: In messages.
        format: Its format, as ``read_header`` returns it.

    Raises:
        InputError: It was, or it cannot be decoded.
    """
    head, tail, size = _ends(source)
    if _ends_well(head, tail, size, format):
        return
    try:
        with opened(source, name) as picture:
            if format == "TIFF" and _has_all_strips(picture, size):
                return
            check_size(picture, source, name)
            picture.load()
    except InputError:
        found = look_at_channels(source) if isinstance(source, Path) else None
        if found is None:
            raise
        assert isinstance(source, Path)
        read_tiff_channels(source, found.channels, MAX_PIXELS)


def _ends(source: Path | bytes) -> tuple[bytes, bytes, int]:
    """The first and the last bytes of a file, and its length."""
    if isinstance(source, bytes):
        return source[:_HEAD], source[-_TAIL:], len(source)
    with source.open("rb", buffering=0) as file:
        head = file.read(_HEAD)
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        return head, file.read(_TAIL), size


def _ends_well(head: bytes, tail: bytes, size: int, format: str) -> bool:
    """Whether the file is certainly complete."""
    match format:
        case "WEBP":
            return int.from_bytes(head[4:8], "little") + 8 <= size
        case "BMP":
            return 54 < int.from_bytes(head[2:6], "little") <= size
        case "GIF":
            return tail.rstrip(b"\0").endswith(b";")
    return format in _ENDS and _ENDS[format] in tail


def _has_all_strips(picture: Any, size: int) -> bool:
    """Whether the file is as long as the directory of a TIFF says; of its first page."""
    tags = picture.tag_v2
    for offsets, counts in zip(_OFFSETS, _COUNTS, strict=True):
        begins, lengths = tags.get(offsets), tags.get(counts)
        if begins and lengths and len(begins) == len(lengths):
            return all(begin + length <= size for begin, length in zip(begins, lengths, strict=True))
    return False
