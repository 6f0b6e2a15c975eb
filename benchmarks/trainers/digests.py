"""What the files of a folder hold, as digests: ``python digests.py FOLDER`` prints a JSON object.

Of files that PyTorch has written, the digest is of their tensors and numbers: the rest may be a date or a folder.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

_TORCH, _BYTES = (".pt", ".ckpt", ".bin"), (".h5", ".safetensors")


def values(of: Any) -> Iterator[bytes]:
    """The tensors of nested containers and modules, and the numbers that are not times."""
    if isinstance(of, torch.nn.Module):
        of = of.state_dict()
    if isinstance(of, torch.Tensor):
        yield of.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(of, dict):
        for key, value in of.items():
            if "time" not in str(key):
                yield str(key).encode()
                yield from values(value)
    elif isinstance(of, list | tuple):
        for value in of:
            yield from values(value)
    elif isinstance(of, int | float):
        yield repr(of).encode()


def digest(path: Path) -> str:
    """That of one file."""
    found = hashlib.sha256()
    if path.suffix in _TORCH:
        for each in values(torch.load(path, weights_only=False)):
            found.update(each)
    else:
        found.update(path.read_bytes())
    return found.hexdigest()


folder = Path(sys.argv[1])
paths = sorted(path for path in folder.rglob("*") if path.suffix in (*_TORCH, *_BYTES))
print(json.dumps({str(path.relative_to(folder)): digest(path) for path in paths}))
