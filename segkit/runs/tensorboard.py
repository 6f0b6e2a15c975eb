"""Event files that TensorBoard reads, written without it.

A file is a series of records: length, its checksum, bytes, their checksum (CRC-32C, masked as TensorFlow masks it);
the bytes are an ``Event`` message of protocol buffers. Scalars need four of its fields, which is less than the
package would bring. Format: tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto.
"""

import os
import socket
import struct
import time
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class EventFile:
    """Scalars by step."""

    def __init__(self, folder: Path) -> None:
        """Open a new file; TensorBoard reads all that are in a folder as one."""
        folder.mkdir(exist_ok=True)
        now = time.time()
        self._file = (folder / f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}").open("wb")
        self._write(_double(1, now) + _bytes(3, b"brain.Event:2"))

    def write(self, line: dict[str, Any]) -> None:
        """Write the numbers in a line of ``metrics.jsonl``, those in dictionaries as ``name/inner``."""
        kind = {"step": "train", "eval": "val"}[line["kind"]]
        values = b"".join(_bytes(1, _bytes(1, f"{kind}/{name}".encode()) + _float(2, v)) for name, v in _numbers(line))
        self._write(_double(1, time.time()) + _number(2, line["step"]) + _bytes(5, values))

    def _write(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _numbers(line: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            found.append((prefix + name, float(value)))
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


@lru_cache(maxsize=1)
def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def _checksum(data: bytes) -> bytes:
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
