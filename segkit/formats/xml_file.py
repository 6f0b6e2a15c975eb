"""XML files of any format, read with limits: nothing is expanded, and nothing outside the file is read."""

import contextlib
import re
from pathlib import Path
from xml.etree import ElementTree

from segkit.data.read_file import head_of, read_file
from segkit.errors import InputError
from segkit.formats.encoding import decode_named

_MOST, _HEAD = 256, 4096  # MiB; bytes


def begins_with(path: Path, element: str) -> bool:
    """Whether an element, with or without attributes, is in the first bytes of a file, also in UTF-16."""
    head = head_of(path, _HEAD).replace(b"\0", b"")
    return re.search(rb"<%s[\s>/]" % element.encode(), head) is not None


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file.

    Files that declare entities are refused: a few lines of them expand to gigabytes ("billion laughs"), or name other
    files. No annotation tool writes them.

    Raises:
        InputError: It is missing, no XML, declares entities, or has more than 256 MiB.
    """
    data = read_file(path, path.name, _MOST)
    if b"<!ENTITY" in data.replace(b"\0", b""):  # also in UTF-16
        raise InputError(f"{path.name}: declares entities, which no annotation file needs")
    text: str | bytes = data
    declared = re.match(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""", data[:_HEAD])
    with contextlib.suppress(ValueError, LookupError):  # then the parser says what is wrong
        # Expat knows no encoding of several bytes a letter but UTF-8 and UTF-16: not GBK, Shift-JIS or EUC-KR.
        text = data.decode(declared[1].decode()) if declared is not None else decode_named(data, path.name)
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise InputError(
            f"{path.name}: not a valid XML file: {error}", "was it cut off while it was copied?"
        ) from error
