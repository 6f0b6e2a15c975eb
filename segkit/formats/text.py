"""Small text files that people and other tools wrote: labels, lists of names, tables."""

from pathlib import Path

from segkit.data.read_file import read_file
from segkit.formats.encoding import decode_named

_MOST = 64  # MiB; a larger file is no list of names and no label file


def read_text(path: Path) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, UTF-16 with one, or a code page that is guessed.

    Raises:
        InputError: It cannot be read, or has more than 64 MiB.
    """
    data = read_file(path, path.name, _MOST)
    return decode_named(data, path.name).removeprefix("\ufeff")
