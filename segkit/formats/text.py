"""Small text files that people and other tools wrote: labels, lists of names, tables."""

from pathlib import Path

from segkit.data.read_file import read_file
from segkit.formats.encoding import decode_named

_MOST = 64  # MiB; a larger file is no list of names and no label file


def read_text(path: Path, name: str | None = None, most: int = _MOST) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, UTF-16 with one, or a code page that is guessed.

    Args:
        path: The file.
        name: What messages call it; None: its name without folders.
        most: The largest size, in MiB.

    Raises:
        InputError: It cannot be read, or is larger.
    """
    data = read_file(path, name or path.name, most)
    return decode_named(data, path.name).removeprefix("\ufeff")


def read_lines(path: Path, most: int = _MOST) -> list[str]:
    """The lines of a file that are not empty. Names may have other characters that end lines for Python.

    Args:
        path: The file.
        most: The largest size, in MiB.

    Raises:
        InputError: It cannot be read, or is larger.
    """
    text = read_text(path, most=most).replace("\r\n", "\n").replace("\r", "\n")
    return [line for line in text.split("\n") if line.strip()]
