"""A value of an option as people give it, on a command line, in TOML or in Python -> as its config record holds it."""

import io
import math
import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from segkit.config.parsers import to_toml

if TYPE_CHECKING:
    from segkit.config.fields import Declaration

_TOO_LARGE = 2**63
_PAIR = 2


def value_of(declared: "Declaration", hint: Any, value: Any) -> Any:
    """The value of an option.

    Args:
        declared: What is known of the option.
        hint: The type of its field.
        value: As ``of_python`` gives it: text as on the command line, or what it means; lists and dicts for tuples.

    Raises:
        ValueError: It is not what the option takes; the message says what is.
    """
    is_plain = get_origin(hint) in (None, Literal, list, tuple)
    kinds = (hint,) if is_plain else get_args(hint)
    if value is None and NoneType in kinds:
        return None
    if declared.parse is not None:
        return _parsed(declared, value)
    return _plain(declared, next(kind for kind in kinds if kind is not NoneType), value)


def of_python(value: Any) -> Any:
    """Scalars and arrays of NumPy, tensors and columns of tables as numbers, texts and lists; other iterables as lists.

    What is one value stays as it is: texts, mappings and paths; so does an open file, which nobody means by its lines.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)  # the same on every run
    if isinstance(value, list | tuple | Mapping | str | bytes | bytearray | os.PathLike | io.IOBase):
        return value
    return list(value) if isinstance(value, Iterable) else value


def _parsed(declared: "Declaration", value: Any) -> Any:
    """A value that has a form of its own."""
    assert declared.parse is not None
    if isinstance(value, str):
        return declared.parse(value)
    if isinstance(value, Mapping):
        value = tuple(value.items())
    elif isinstance(value, list | tuple):
        value = tuple(tuple(each) if isinstance(each, list) else each for each in value)
    elif not isinstance(value, os.PathLike):
        value = _number(value)
    _check_pairs(value)
    found = declared.parse(str(to_toml(value)))
    if isinstance(value, tuple) and isinstance(found, tuple) and len(found) > len(value):
        raise ValueError(f"{value!r}: a comma in a name ends it")
    return found


def _check_pairs(value: Any) -> None:
    """Refuse what a list of pairs cannot say as text; what is no such list is left to the option's parser.

    Raises:
        ValueError: An entry is no pair, has no value, or has a comma or an equals sign where one ends a name.
    """
    if not isinstance(value, tuple) or not any(isinstance(each, tuple) for each in value):
        return
    for each in value:
        if not isinstance(each, tuple) or len(each) != _PAIR:
            raise ValueError(f"{each!r} is not a pair of a name and a value")
        if None in each:
            raise ValueError(f"{each!r} has no value")
        if sign := next((sign for sign in ",=" if sign in str(each[0])), "," if "," in str(each[1]) else None):
            raise ValueError(f"{each!r}: {sign} in a name ends it")


def _plain(declared: "Declaration", kind: Any, value: Any) -> Any:
    """A value of a plain type."""
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return value
    if kind in (int, float):
        return number_of(declared, kind, value)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{value!r} is not one of {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is list:
        texts = [text_of(each) for each in (value if isinstance(value, list | tuple) else (value,))]
        return [path_text(each) for each in texts] if declared.argument else texts
    text = path_text(text_of(value)) if kind is Path or declared.argument else text_of(value)
    return Path(text) if kind is Path else text


def number_of(declared: "Declaration", kind: type[int] | type[float], value: Any) -> int | float:
    """A number within the bounds of its option.

    Args:
        declared: What is known of the option.
        kind: ``int`` or ``float``.
        value: A number, or its text.

    Raises:
        ValueError: It is none.
    """
    try:
        plain = value if isinstance(value, str) else _number(value)
        if (kind is int and isinstance(plain, float)) or (isinstance(plain, str) and not plain.isascii()):
            raise ValueError  # half a picture, or digits of another script
        number = kind(plain)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{value!r} is not {'a whole number' if kind is int else 'a number'}") from None
    if abs(number) >= _TOO_LARGE if kind is int else not math.isfinite(number):
        raise ValueError(f"{number} is no number to compute with")
    if declared.min is not None and number < declared.min:
        raise ValueError(f"{number} is less than {declared.min}")
    if declared.max is not None and number > declared.max:
        raise ValueError(f"{number} is more than {declared.max}")
    return number


def _number(value: Any) -> int | float:
    """A number of Python or of NumPy as one of Python."""
    if not isinstance(value, bool | str | bytes):
        if hasattr(value, "__index__"):
            return operator.index(value)
        if hasattr(value, "__float__"):
            return float(value)
    raise ValueError(f"{value!r} is not a number")


def path_text(text: str) -> str:
    """The text of a path; what a shell makes of a variable that is not set would name the folder that one is in.

    Raises:
        ValueError: It is empty, or has a character that no path has.
    """
    if not text:
        raise ValueError("an empty text names no file or folder")
    if "\0" in text:
        raise ValueError(f"{text!r}: no path has the character 0")
    return text


def text_of(value: Any) -> str:
    """A text or a path as text.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, int) and not isinstance(value, bool):  # max_dets=200
        return str(value)
    raise ValueError(f"{value!r} is neither a text nor a path")
