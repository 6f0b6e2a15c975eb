"""JSON files of any format, read: what Python's own writer makes is taken, too."""

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec

from segkit.data.read_file import read_file
from segkit.errors import InputError
from segkit.formats.encoding import decode_named


def read_json(path: Path) -> Any:
    """Read any JSON file, NaN and Infinity, a byte order mark and UTF-16 among them.

    Raises:
        InputError: It is missing or no JSON.
    """
    data = read_file(path)
    if not data.strip():
        raise InputError(f"{path}: is empty", "was it cut off while it was copied?")
    try:
        return _decode(data, path.name)
    except RecursionError:
        raise InputError(f"{path}: not valid JSON: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}", "was it cut off while it was copied?") from error


def _decode(data: bytes, name: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        with contextlib.suppress(ValueError):
            return json.loads(data)  # takes NaN and Infinity, which Python writes and JSON does not have
        with contextlib.suppress(ValueError):
            return json.loads(decode_named(data, name), strict=False)
        raise
