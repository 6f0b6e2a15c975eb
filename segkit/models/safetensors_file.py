"""Reads safetensors (https://github.com/huggingface/safetensors), a format for tensors that holds no code.

Eight bytes with the length of a JSON header, the header (name -> type, shape, place), then the values.
"""

import json
import math
from pathlib import Path

import torch

_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
_LONGEST_HEADER = 100_000_000  # bytes: the limit of the reference implementation


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name; those of rarer types are left out.

    Raises:
        ValueError: It is damaged, or something else.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(_LONGEST_HEADER, len(content) - 8):
        raise ValueError("no header")
    header, values = json.loads(content[8 : 8 + length]), memoryview(content)[8 + length :]
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
