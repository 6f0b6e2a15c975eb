"""Which images are of one picture file: links, hard links and paths with ``..`` name it differently."""

from collections.abc import Sequence
from pathlib import Path

from segkit.conversion.spool import ImageEntry


def picture_files(entries: Sequence[ImageEntry]) -> list[str | None]:
    """The picture file of every image by one name for each file: the one that the first image with it has.

    None where an image has no file, as when it is embedded.
    """
    first: dict[tuple[int, int] | str, str] = {}
    return [first.setdefault(_identity(each.file), each.file) if each.file is not None else None for each in entries]


def _identity(path: str) -> tuple[int, int] | str:
    """What is equal for two paths of one file."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return path
    return (found.st_dev, found.st_ino) if found.st_ino else path  # some file systems number no files
