"""Small text files that people and other tools wrote: labels, lists of names, tables."""

from pathlib import Path

from segkit.errors import InputError
from segkit.formats.labelme.encoding import decode_text

_MOST = 64 << 20  # bytes; a larger file is no list of names and no label file


def read_text(path: Path) -> str:
    """The text of a file: UTF-8 with or without a byte order mark, UTF-16 with one, or a code page that is guessed.

    Raises:
        InputError: It cannot be read, or has more than 64 MiB.
    """
    try:
        if path.stat().st_size > _MOST:
            raise InputError(f"{path.name}: has more than 64 MiB, which is too much for a text file of this kind")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror}") from error
    return decode_text(data)[0].removeprefix("\ufeff")
