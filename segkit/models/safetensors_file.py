"""Reads and writes safetensors (https://github.com/huggingface/safetensors), a format for tensors that holds no code.

Eight bytes with the length of a JSON header, the header (name -> type, shape, place), then the values.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
_LONGEST_HEADER = 100_000_000  # bytes: the limit of the reference implementation


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name; those of rarer types are left out.

    Raises:
        ValueError: It is damaged, or something else.
    """
    content = path.read_bytes()
    header, start = _header(content)
    values = memoryview(content)[start:]
    tensors = {}
    for name, entry in header.items():
        kind = _TYPES.get(entry.get("dtype"))
        if kind is None:  # also the file's metadata
            continue
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(values) or end - begin != math.prod(entry["shape"]) * kind.itemsize:
            raise ValueError(f"{name} is cut off")
        flat = torch.frombuffer(bytearray(values[begin:end]), dtype=kind) if end > begin else torch.empty(0, dtype=kind)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a file has beside its tensors, by their keys.

    Raises:
        ValueError: It is damaged, or something else.
    """
    metadata = _header(path.read_bytes())[0].get("__metadata__", {})
    return {key: value for key, value in metadata.items() if isinstance(value, str)}


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header of a file, and where the values begin."""
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(_LONGEST_HEADER, len(content) - 8):
        raise ValueError("no header")
    header = json.loads(content[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header, 8 + length


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and texts.

    Args:
        path: The file.
        tensors: By name, of types that ``read_safetensors`` reads.
        metadata: Texts by key.
    """
    names = {kind: name for name, kind in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[name] = {"dtype": names[tensor.dtype], "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # values begin at a multiple of 8 bytes, as the reference implementation has it
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
