"""The LabelMe file as text: encodings, the embedded picture, and the top-level keys, of every release.

segkit reads the JSON itself and never imports labelme, which is GPL-3.0 and has had no public API since 7.0.
The format by version is described in ``docs/labelme-format.md``.
"""

import binascii
import json
import re
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import charset_normalizer
import msgspec

from segkit.errors import InputError

# Before 4.5.2 LabelMe wrote in the code page of the operating system.
_CODE_PAGES = ["cp1252", "cp932", "cp949", "big5", "cp1251", "cp1250"]


class _TopLevel(msgspec.Struct):
    """The keys that say what a file is; the picture stays unparsed bytes."""

    shapes: Any = None
    version: Any = None
    flags: Any = None
    imagePath: Any = None
    imageData: msgspec.Raw = msgspec.Raw(b"null")
    imageHeight: Any = None
    imageWidth: Any = None


_decoder = msgspec.json.Decoder(_TopLevel)


@dataclass(frozen=True, slots=True)
class LabelmeFile:
    """The top level of one file, trusted in type but not in sense."""

    shapes: list[Any]
    version: tuple[int, ...]  # empty where the file names none
    flags: frozenset[str]
    image_path: str | None
    has_image_data: bool
    size: tuple[int, int] | None  # (height, width) as the file says
    code_page: str | None  # what it was decoded with, when that is not UTF-8


def read_labelme(path: Path) -> LabelmeFile | None:
    """Read a LabelMe file without decoding its embedded picture; None if it is some other JSON.

    Raises:
        InputError: It cannot be read or is no JSON.
    """
    top, code_page = _parse(_read(path))
    if not isinstance(top.shapes, list):
        return None
    return LabelmeFile(
        shapes=top.shapes,
        version=_version(top.version),
        flags=frozenset(name for name, on in top.flags.items() if on) if isinstance(top.flags, dict) else frozenset(),
        image_path=top.imagePath if isinstance(top.imagePath, str) and top.imagePath else None,
        has_image_data=len(bytes(top.imageData)) > len(b"null"),
        size=_size(top.imageHeight, top.imageWidth),
        code_page=code_page,
    )


def read_image_data(path: Path) -> bytes:
    """Decode the picture that a LabelMe file embeds.

    Raises:
        InputError: There is none, or it is no base64.
    """
    top, _ = _parse(_read(path))
    try:
        return b64decode(json.loads(bytes(top.imageData)))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InputError(f"imageData is no base64: {error}", "open the file in LabelMe and save it again") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error


def _parse(data: bytes) -> tuple[_TopLevel, str | None]:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return _decoder.decode(data), None
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # not an object, not UTF-8, NaN in the numbers, or broken: the slow way finds out which
    text, code_page = _decode(data)
    try:
        top = json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}" if text.rstrip().endswith(("}", "]")) else "ends in the middle"
        raise InputError(f"not valid JSON: {where}", "restore it from a backup or annotate it again") from error
    except RecursionError as error:
        raise InputError("not valid JSON: nested too deeply") from error
    if not isinstance(top, dict):
        return _TopLevel(), code_page
    image_data = msgspec.Raw(json.dumps(top.get("imageData")).encode())
    known = {name: top.get(name) for name in _TopLevel.__struct_fields__ if name != "imageData"}
    return _TopLevel(**known, imageData=image_data), code_page


def _decode(data: bytes) -> tuple[str, str | None]:
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), "utf-16"
    code_page = _guess_code_page(data)
    return data.decode(code_page, errors="replace"), code_page


def _guess_code_page(data: bytes) -> str:
    """Chinese where all bytes beyond ASCII come in pairs, which Western letters do not; else by statistics."""
    runs = re.findall(rb"[\x80-\xff]+", data)
    if all(len(run) % 2 == 0 for run in runs):
        try:
            data.decode("gb18030")
            return "gb18030"
        except UnicodeDecodeError:
            pass
    # Pictures are ASCII and would only dilute the statistics of the text.
    text = b" ".join(word for word in data.split(b'"') if len(word) < 2000)
    best = charset_normalizer.from_bytes(text, cp_isolation=_CODE_PAGES).best()
    return best.encoding if best else "cp1252"


def _version(value: Any) -> tuple[int, ...]:
    numbers = str(value).split(".") if isinstance(value, str) else []
    return tuple(int(number) for number in numbers[:3]) if all(n.isdigit() for n in numbers[:3]) else ()


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    sides = [int(side) for side in (height, width) if isinstance(side, int | float) and not isinstance(side, bool)]
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 0 else None
