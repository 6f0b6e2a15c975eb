"""The files of a bottled step: written by ``keep``, read by ``read``.

``bottle.json`` says all that a person wants to know, and has a CRC-32 of each other file; it is written last. Tensors
are in files that load with ``weights_only``: nothing in a bottle is code.
"""

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, cast

from torch import Tensor

from segkit.data.records import Image
from segkit.loading.sampler import Key
from segkit.loading.whole import Sample
from segkit.models.tensors import Target

FORMAT = 1
BOTTLE, CONFIG, STATE, BATCH, SNAPSHOT = "bottle.json", "config.toml", "state.pt", "batch.pt", "snapshot.pickle"


def name_of(step: int, rank: int, world_size: int) -> str:
    """The name of the folder of a step that failed on a rank."""
    return f"{step}" if world_size == 1 else f"{step}-rank{rank}"


def to_json(losses: Mapping[str, float] | None) -> dict[str, float | str] | None:
    """Losses for JSON, which has no NaN and no infinity: those become words."""
    return None if losses is None else {name: number_to_json(value) for name, value in losses.items()}


def number_to_json(value: float) -> float | str:
    """A number for JSON: nan, inf and -inf become words."""
    return value if math.isfinite(value) else str(value)


def sample_to_plain(sample: Sample) -> dict[str, Any]:
    """An image and its target in plain values and tensors, on the host."""
    target = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in sample.target.items()}
    return {"image": sample.image.cpu(), "target": target}


def sample_from_plain(plain: Mapping[str, Any], entry: Mapping[str, Any]) -> Sample:
    """The inverse of ``sample_to_plain``.

    Args:
        plain: The tensors.
        entry: What ``bottle.json`` says of the image.
    """
    record = Image(entry["id"], entry["file"], entry["height"], entry["width"])
    return Sample(plain["image"], cast(Target, dict(plain["target"])), record, key=key_of(entry))


def describe(sample: Sample) -> dict[str, Any]:
    """An image of the batch as ``bottle.json`` has it: which one, which change of it, and a digest of what came out."""
    record, key = sample.record, sample.key
    return {
        "file": record.file_name,
        "id": record.id,
        "height": record.height,
        "width": record.width,
        "unlabelled": "weak" in sample.target,
        "instances": len(sample.target["labels"]) if "labels" in sample.target else None,
        "seed": sample.target.get("seed"),
        "epoch": key.epoch if key is not None else None,
        "image": key.image if key is not None else None,
        "copy": key.copy if key is not None else None,
        "frame": list(key.frame) if key is not None and key.frame is not None else None,
        "in_place_of": sample.instead_of,
        "digest": digest(sample),
    }


def key_of(entry: Mapping[str, Any]) -> Key | None:
    """Which image of the dataset it is, and which change of it; None where that was not kept."""
    if entry.get("epoch") is None:
        return None
    frame = entry["frame"]
    return Key(entry["epoch"], entry["image"], entry["copy"], (frame[0], frame[1]) if frame is not None else None)


def digest(sample: Sample) -> str:
    """A digest of an image and its target."""
    hashed = blake2b(digest_size=16)
    values = sorted(sample.target.items())
    for name, value in (("image", sample.image), *values):
        if isinstance(value, Tensor):
            hashed.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            hashed.update(value.detach().cpu().contiguous().numpy().tobytes())
        elif name != "frame":
            hashed.update(f"{name} {value}\n".encode())
    return hashed.hexdigest()


def num_bytes(values: Sequence[Any]) -> int:
    """Bytes of the tensors in nested plain values."""
    total = 0
    for value in values:
        if isinstance(value, Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            total += num_bytes(list(value.values()))
        elif isinstance(value, list | tuple):
            total += num_bytes(value)
    return total
