"""The encoding of text files: UTF-8, or a code page of an older program, which is named by hand or guessed.

A code page is guessed from all texts of a dataset together (``segkit.formats.code_pages``): one label is too short.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from segkit.data.files import is_file, walk_folders
from segkit.data.read_file import head_of
from segkit.data.records import Finding
from segkit.formats.code_pages import Guess, guess_code_page

_TEXTS = frozenset({".json", ".txt", ".yaml", ".yml", ".xml", ".csv"})
_LISTED, _READ, _HEAD = 20_000, 600, 1 << 18  # files that are listed, that are read, and bytes of each


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """What is known of the encoding of a dataset's texts.

    Attributes:
        given: The encoding that the user named.
        root: The folder of the dataset, whose texts are judged together.
    """

    given: str | None = None
    root: str | None = None


@dataclass(frozen=True, slots=True)
class _Current:
    texts: TextEncoding = TextEncoding()
    noticed: list[tuple[str, str]] = field(default_factory=list)


_current: ContextVar[_Current | None] = ContextVar("_current", default=None)


@contextmanager
def text_encoding(texts: TextEncoding) -> Iterator[list[tuple[str, str]]]:
    """Text files that are read inside the block have this encoding where they are not UTF-8.

    Yields:
        Takes the name of each file that was not UTF-8, and how it was read (``decode_named``).
    """
    current = _Current(texts)
    token = _current.set(current)
    try:
        yield current.noticed
    finally:
        _current.reset(token)


def decode_named(data: bytes, name: str) -> str:
    """The text of a file; that it was not UTF-8 is noticed."""
    text, how = decode_text(data)
    if how is not None and (current := _current.get()) is not None:
        current.noticed.append((name, not_utf8(how)))
    return text


def findings_on_encoding(noticed: Iterable[tuple[str, str]]) -> list[Finding]:
    """A finding for each file that was not UTF-8."""
    return [Finding(name, "repaired", why, shapes=0) for name, why in dict.fromkeys(noticed)]


def not_utf8(how: str) -> str:
    """The sentence of a finding."""
    return f"not UTF-8; read as {how}"


def decode_text(data: bytes) -> tuple[str, str | None]:
    """Decode a file; returns its text and how it was read, None for UTF-8."""
    current = _current.get()
    texts = current.texts if current is not None else TextEncoding()
    if texts.given is not None and _is_short_in_utf8(data):
        try:
            return data.decode(texts.given), texts.given
        except UnicodeError:
            pass
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), "utf-16"
    if texts.given is not None:
        return data.decode(texts.given, errors="replace"), texts.given
    guess = _guess(data, texts.root)
    doubt = f", but it may be {guess.other}: --encoding names it" if guess.other else ""
    return data.decode(guess.code_page, errors="replace"), guess.code_page + doubt


def _is_short_in_utf8(data: bytes) -> bool:
    """Whether a text is not UTF-8, or only by chance: all its characters beyond ASCII have two bytes."""
    try:
        return all(character < "\u0800" for character in data.decode("utf-8")) and not data.isascii()
    except UnicodeDecodeError:
        return data[:2] not in (b"\xff\xfe", b"\xfe\xff")


def _guess(data: bytes, root: str | None) -> Guess:
    guess = _guess_of(root) if root is not None else None
    if guess is not None:
        try:
            data.decode(guess.code_page)
            return guess
        except UnicodeDecodeError:  # this file is another's
            pass
    return guess_code_page([data]) or Guess("cp1252")


@lru_cache(maxsize=8)
def _guess_of(root: str) -> Guess | None:
    """The code page of a folder's texts that are not UTF-8; the same in every process that asks."""
    paths: list[Path] = []
    for folder, names in walk_folders(Path(root)):
        paths += [folder / name for name in names if Path(name).suffix.lower() in _TEXTS]
        if len(paths) >= _LISTED:
            break
    heads = (_head(path) for path in paths[:: max(1, len(paths) // _READ)] if is_file(path))
    return guess_code_page([head for head in heads if head is not None])


def _head(path: Path) -> bytes | None:
    """The beginning of a text, up to the end of a string or line; None where it is UTF-8."""
    head = head_of(path, _HEAD)
    if len(head) == _HEAD:
        head = head[: max(head.rfind(b'"'), head.rfind(b"\n"))]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return None
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return head
    return None
