"""LabelMe files of every release: encodings, the embedded image, and the top-level keys.

segkit reads the JSON itself and never imports labelme, which is GPL-3.0 and has had no public API since 7.0.
The format by version is described in ``docs/labelme-format.md``.

An embedded image is most of a file. It is cut out of the bytes before the JSON is parsed, and only decoded when it is
needed; a file that is not exactly as LabelMe writes it is parsed as a whole, which is slower.
"""

import binascii
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pybase64

from segkit.data.read_file import read_file
from segkit.errors import InputError
from segkit.formats.encoding import decode_text

_HEAD, _TAIL = 1 << 18, 1 << 12  # bytes read of a file whose image is not needed
_PICTURE_KEY = re.compile(rb'"imageData"\s*:\s*"')
_CUT = b"0"  # replaces the image in what is parsed: LabelMe never writes a number there


class _TopLevel(msgspec.Struct):
    """The top-level keys; the embedded image stays unparsed bytes."""

    shapes: Any = None
    version: Any = None
    flags: Any = None
    imagePath: Any = None
    imageData: msgspec.Raw = msgspec.Raw(b"null")
    imageHeight: Any = None
    imageWidth: Any = None
    split: Any = None


_decoder = msgspec.json.Decoder(_TopLevel)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The base64 text of an embedded image: ``whole``, or only its beginning."""

    text: bytes | memoryview
    whole: bool = True

    def head(self) -> bytes:
        """The first bytes of the image, nearly always enough for its header."""
        return _decode_base64(self.text[: min(_HEAD, len(self.text) // 4 * 4)])

    def decode(self) -> bytes:
        """The bytes of the image file.

        Raises:
            InputError: It is not base64.
        """
        return _decode_base64(self.text)


@dataclass(frozen=True, slots=True)
class LabelmeFile:
    """The top level of one file: the types are checked, the values are not."""

    shapes: list[Any]
    version: tuple[int, ...]  # empty where the file has none
    flags: tuple[str, ...]  # those that are on, sorted
    image_path: str | None
    embedded: Embedded | None
    size: tuple[int, int] | None  # (imageHeight, imageWidth)
    code_page: str | None = None  # what it was decoded with, when that is not UTF-8
    split: str | None = None  # which split the picture was in, where segkit wrote the file


def read_labelme(path: Path, *, picture: bool = True) -> LabelmeFile | None:
    """Read a LabelMe file without decoding its embedded image; None if it is another JSON file.

    Args:
        path: The file.
        picture: Whether the whole embedded image is needed, or only its header.

    Raises:
        InputError: It cannot be read or is not JSON.
    """
    parts = None if picture else _read_parts(path)
    top, embedded, code_page = _parse(read_file(path, path.name)) if parts is None else parts
    if not isinstance(top.shapes, list):
        return None
    on = sorted(name for name, value in top.flags.items() if value) if isinstance(top.flags, dict) else ()
    return LabelmeFile(
        shapes=top.shapes,
        version=_version(top.version),
        flags=tuple(on),
        image_path=top.imagePath if isinstance(top.imagePath, str) and top.imagePath else None,
        embedded=embedded,
        size=_size(top.imageHeight, top.imageWidth),
        code_page=code_page,
        split=top.split if isinstance(top.split, str) else None,
    )


def _read_parts(path: Path) -> tuple[_TopLevel, Embedded, None] | None:
    """The keys before and after a long embedded image, without reading all of it; None: read the file as a whole."""
    try:
        if not path.is_file():
            return None
        with path.open("rb", buffering=0) as file:
            head = b""
            found = None
            while found is None:
                more = file.read(_HEAD)
                if len(more) < _HEAD:
                    return None  # a small file, or one without a picture
                start = max(len(head) - 64, 0)
                head += more
                found = _find_picture(head, start)
            end = file.seek(0, 2)
            if end - len(head) < 2 * _TAIL:
                return None
            file.seek(end - _TAIL)
            tail = file.read(_TAIL)
    except OSError:
        return None
    quote = tail.find(b'"')
    if quote < 0 or b"\\" in tail[:quote] or b'"' in head[found:]:
        return None
    # The tail must hold the end of the string and nothing of another: its first quote is the closing one.
    parsed = _parse_cut(head[: found - 1] + _CUT + tail[quote + 1 :])
    return None if parsed is None else (parsed, Embedded(head[found:], whole=False), None)


def _find_picture(data: bytes, start: int = 0) -> int | None:
    """Where the text of the embedded image begins, after its quote; None if none is found."""
    at = data.find(b'"imageData"', start)
    match = _PICTURE_KEY.match(data, at) if at >= 0 else None
    return match.end() if match else None


def _parse_cut(data: bytes) -> _TopLevel | None:
    """Parse a document whose image was cut out; None if it was not the top-level image."""
    try:
        top = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return top if bytes(top.imageData) == _CUT else None


def _parse(data: bytes) -> tuple[_TopLevel, Embedded | None, str | None]:
    data = data.removeprefix(b"\xef\xbb\xbf")
    begin = _find_picture(data)
    if begin is not None and (end := data.find(b'"', begin)) > 0 and data[end - 1 : end] != b"\\":
        top = _parse_cut(data[: begin - 1] + _CUT + data[end + 1 :])
        if top is not None:
            plain = data.find(b"\\", begin, end) < 0
            text = memoryview(data)[begin:end] if plain else _unescaped(data[begin:end])  # no copy of a megabyte
            return top, Embedded(text) if end > begin else None, None
    try:
        top = _decoder.decode(data)
        return top, _embedded(bytes(top.imageData)), None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # not an object, not UTF-8, NaN among the numbers, or invalid: _parse_slowly finds out which
    return _parse_slowly(data)


def _parse_slowly(data: bytes) -> tuple[_TopLevel, Embedded | None, str | None]:
    text, code_page = decode_text(data)
    try:
        top = json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}" if text.rstrip().endswith(("}", "]")) else "ends in the middle"
        raise InputError(f"not valid JSON: {where}", "restore it from a backup or annotate it again") from error
    except RecursionError as error:
        raise InputError("not valid JSON: nested too deeply") from error
    except ValueError as error:  # a number of more than 4300 digits
        raise InputError(f"not valid JSON: {error}") from error
    if not isinstance(top, dict):
        return _TopLevel(), None, code_page
    known: dict[str, Any] = {name: top.get(name) for name in _TopLevel.__struct_fields__ if name != "imageData"}
    picture = top.get("imageData")
    embedded = Embedded(picture.encode("ascii", "replace")) if isinstance(picture, str) and picture else None
    return _TopLevel(**known), embedded, code_page


def _embedded(raw: bytes) -> Embedded | None:
    return Embedded(_unescaped(raw[1:-1])) if raw[:1] == b'"' and len(raw) > 2 else None


def _unescaped(text: bytes) -> bytes:
    """The content of a JSON string; base64 needs no escapes, but some programs write them."""
    if b"\\" not in text:
        return text
    try:
        return str(json.loads(b'"' + text + b'"', strict=False)).encode("ascii", "replace")
    except ValueError:
        return text


def _decode_base64(text: bytes | memoryview) -> bytes:
    if text[:5] == b"data:":  # a data URL: data:image/png;base64,...
        text = bytes(text).partition(b",")[2]
    try:
        return pybase64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"imageData is not base64: {error}", "open the file in LabelMe and save it again") from error


def _version(value: Any) -> tuple[int, ...]:
    numbers = str(value).split(".") if isinstance(value, str) else []
    plain = all(n.isascii() and n.isdigit() and len(n) < 9 for n in numbers[:3])
    return tuple(int(number) for number in numbers[:3]) if plain else ()


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    sides = [side for side in (height, width) if isinstance(side, int | float) and not isinstance(side, bool)]
    plain = len(sides) == 2 and all(1 <= side < 1 << 31 for side in sides)
    return (int(sides[0]), int(sides[1])) if plain else None
