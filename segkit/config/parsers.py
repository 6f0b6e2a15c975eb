"""Parsers of sizes, durations, lists and pairs, and the way back.

Parsers raise ``ValueError`` with the expected form; ``segkit.commands`` turns that into a usage error.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import cast, get_args

from segkit.choices import LossName

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

_BYTES: dict[str, int] = {"": 1, "b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in (
        (letter, 1024),
        (f"{letter}i", 1024),
        (f"{letter}ib", 1024),
        (f"{letter}b", 1000),
    )
}
_MOST_BYTES = 2**63
_MOST_SECONDS = 10 * 365 * 86400.0
_LEAST_RATIO = 0.01
_MOST_GPU, _MOST_IMAGES = 1023, 65536
_MOST_FACTOR = 1e6
_MOST_AREA, _MOST_CLASSES = 1e9, 20
_LEAST_PROMISE = 1e-4

SIZE_UNITS = "8G = 8GiB = 8 x 1024^3 bytes; 8GB = 8 x 1000^3 bytes."
"""Units of sizes, for the help of options."""


def parse_duration(text: str) -> float:
    """Read ``30s``, ``90m``, ``2h``, ``1h30m`` or plain seconds; returns seconds."""
    parts = re.findall(r"([\d.]+)\s*([a-zA-Z]*)", text)
    whole = re.fullmatch(r"\s*(?:\d+\.?\d*\s*[a-zA-Z]*\s*)+", text)
    if whole and parts and all(unit.lower() in _SECONDS for _, unit in parts):
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
        if 0 < seconds <= _MOST_SECONDS:
            return seconds
    raise ValueError(f"{text!r} is not a duration such as 30s, 90m or 2h")


def parse_size(text: str) -> int:
    """Read ``6GiB``, ``800MB`` or plain bytes, in any case and with or without a space; returns bytes.

    GiB, Gi and a bare G are 1024^3 bytes, as PyTorch and nvidia-smi count; GB is 1000^3 bytes (IEC 80000-13).
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([a-z]*)\s*", text.lower())
    if match and match[2] in _BYTES:
        size = float(match[1]) * _BYTES[match[2]]
        if 1 <= size < _MOST_BYTES:
            return round(size)
    raise ValueError(f"{text!r} is not a size such as 6GiB or 800MB")


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read ``6GiB,12GiB``: sizes, the smallest first; returns bytes."""
    names = parse_names(text)
    if not names:
        raise ValueError(f"{text!r} is not a list of sizes such as 6GiB,12GiB")
    return tuple(sorted({parse_size(name) for name in names}))


def parse_names(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of names; empty entries are dropped."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_indices(text: str) -> tuple[int, ...]:
    """Read ``0,1``: distinct indices from 0."""
    names = parse_names(text)
    if not names or not all(map(_is_index, names)) or len({int(name) for name in names}) != len(names):
        raise ValueError(f"{text!r} is not a list of distinct numbers such as 0,1")
    return tuple(int(name) for name in names)


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 10 and int(name) <= _MOST_GPU


def parse_counts(text: str) -> tuple[int, ...]:
    """Read ``16,32,64``: whole numbers from 1, each larger than the one before."""
    names = parse_names(text)
    numbers = [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 10]
    if not names or len(numbers) < len(names) or numbers != sorted(set(numbers)) or numbers[0] < 1:
        raise ValueError(f"{text!r} is not a list of growing whole numbers such as 16,32,64")
    return tuple(numbers)


def parse_ratios(text: str) -> tuple[float, ...]:
    """Read ``0.5,1,2``: distinct numbers above 0, the smallest first."""
    try:
        numbers = sorted({float(name) for name in parse_names(text)})
    except ValueError:
        numbers = []
    if not numbers or not all(_LEAST_RATIO <= number <= 1 / _LEAST_RATIO for number in numbers):
        raise ValueError(f"{text!r} is not a list of ratios such as 0.5,1,2")
    return tuple(numbers)


def parse_areas(text: str) -> tuple[float, ...]:
    """Read ``0,324,961``: areas in pixels, each larger than the one before."""
    try:
        areas = tuple(float(name) for name in parse_names(text))
    except ValueError:
        areas = ()
    rising = all(low < high for low, high in pairwise(areas))
    if not areas or not rising or not 0 <= areas[0] <= areas[-1] <= _MOST_AREA or len(areas) > _MOST_CLASSES:
        raise ValueError(
            f"{text!r} is not a list of rising areas in pixels such as 0,324,961, from 0 to {_MOST_AREA:g}, "
            f"{_MOST_CLASSES} at most"
        )
    return areas


def parse_promise(text: str) -> str:
    """Read ``recall >= 0.95`` or ``recall >= 95%``; returns the first form."""
    match = re.fullmatch(r"\s*([a-zA-Z0-9]+)\s*(?:>=|≥)\s*(\d*\.?\d+)\s*(%?)\s*", text)
    if match and match[1].lower() != "recall":
        raise ValueError(f"{text!r}: only recall can be promised, which never falls where the threshold is lower")
    least = (float(match[2]) / (100 if match[3] else 1)) if match else 0.0
    if not _LEAST_PROMISE <= least <= 1 - _LEAST_PROMISE:
        raise ValueError(f"{text!r} is not a promise such as 'recall >= 0.95', of more than 0 and less than 1")
    return f"recall >= {least:.6g}"


def parse_renames(text: str) -> tuple[tuple[str, str], ...]:
    """Read ``old=new,other=``: pairs of an old and a new name; an empty new name drops the old one."""
    pairs = []
    for part in parse_names(text):
        old, equals, new = part.partition("=")
        if not equals or not old.strip():
            raise ValueError(f"{part!r} is not of the form old=new (or old= to drop)")
        pairs.append((old.strip(), new.strip()))
    return tuple(pairs)


def parse_count_or_auto(text: str) -> int | str:
    """Read a number from 1, or ``auto``."""
    if text.strip() == "auto":
        return "auto"
    digits = text.strip()
    if digits.isascii() and digits.isdigit() and len(digits) < 10 and 0 < int(digits) <= _MOST_IMAGES:
        return int(digits)
    raise ValueError(f"{text!r} is neither a number from 1 to {_MOST_IMAGES} nor auto")


def parse_weight_or_uncertainty(text: str) -> float | str:
    """Read a number above 0, or ``uncertainty``."""
    if text.strip() == "uncertainty":
        return "uncertainty"
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= _MOST_FACTOR:
        raise ValueError(f"{text!r} is neither a number above 0 nor uncertainty")
    return weight


def parse_factors(text: str) -> tuple[tuple[str, float], ...]:
    """Read ``backbone=0.1,heads=2``: pairs of a name and a factor."""
    pairs = []
    for part in parse_names(text):
        name, _, factor = part.partition("=")
        try:
            pairs.append((name.strip(), float(factor)))
        except ValueError:
            raise ValueError(f"{part!r} is not of the form name=factor") from None
        if not name.strip() or not 0 <= pairs[-1][1] < float("inf"):
            raise ValueError(f"{part!r} is not of the form name=factor, with a factor from 0")
    return tuple(pairs)


def parse_loss(text: str) -> str:
    """Read a sum of losses such as ``ce+0.5*dice``; returns it without spaces."""
    loss_terms(text)
    return "".join(text.split())


def loss_terms(text: str) -> dict[LossName, float]:
    """The names in a sum of losses such as ``ce+0.5*dice``, and the factor of each."""
    terms: dict[LossName, float] = {}
    for term in text.split("+"):
        match = re.fullmatch(r"\s*(?:(\d+\.?\d*|\.\d+)\s*\*\s*)?([a-z0-9]+)\s*", term)
        factor = float(match[1] or 1) if match else 0.0
        if not match or match[2] not in get_args(LossName) or not 0 < factor <= _MOST_FACTOR:
            names = ", ".join(get_args(LossName))
            raise ValueError(f"{text!r} is not a sum of losses such as ce+0.5*dice; there are {names}")
        name = cast(LossName, match[2])
        if name in terms:
            raise ValueError(f"{text!r} has {name} twice")
        terms[name] = factor
    return terms


def parse_weights_or_auto(text: str) -> tuple[tuple[str, float], ...] | str:
    """Read ``road=2,crack=5``: pairs of a category and a weight above 0, each category once; or ``auto``."""
    if text.strip() == "auto":
        return "auto"
    pairs = parse_factors(text)
    if not pairs or len(dict(pairs)) < len(pairs) or not all(0 < weight <= _MOST_FACTOR for _, weight in pairs):
        raise ValueError(f"{text!r} is neither auto nor a list such as road=2,crack=5, with weights above 0")
    return pairs


def to_toml(value: object) -> object:
    """Turn a parsed value back into a TOML value that its parser reads."""
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return ",".join(f"{name}={of_name}" for name, of_name in value)
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return str(value) if isinstance(value, Path) else value


def parse_regex(text: str) -> str:
    """Take a regular expression as it is, if it is one."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


def parse_encoding(text: str) -> str:
    """Read the name of a text encoding that Python knows."""
    try:
        "a".encode(text)
    except (LookupError, UnicodeError, ValueError):
        raise ValueError(f"{text!r} is not an encoding such as cp949, shift_jis, big5, gb18030 or cp1252") from None
    return text
