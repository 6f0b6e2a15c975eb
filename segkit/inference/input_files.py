"""The picture files that ``predict`` reads, and unique names for what it writes."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from segkit.data.files import list_files
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.errors import InputError


def find_pictures(sources: Sequence[str], out: Path, stdin: Iterable[str]) -> dict[Path, str]:
    """Picture files in a stable order, with their names relative to the source.

    Args:
        sources: Files, folders, globs, or ``-``.
        out: The folder of the predictions, which is not searched.
        stdin: Where ``-`` reads paths.

    Raises:
        InputError: There are none, or a source does not exist.
    """
    found: dict[Path, str] = {}
    for source in sources:
        matches = sorted(glob.glob(source, recursive=True)) if glob.has_magic(source) else []  # noqa: PTH207
        for each in matches or [source]:
            found |= dict(list_files(each, PICTURE_SUFFIXES, stdin, skip=out))
    if not found:
        names = " ".join(sources)
        raise InputError(f"{names}: no pictures there", f"known are {' '.join(sorted(PICTURE_SUFFIXES))}")
    return found


def name_pictures(found: Mapping[Path, str], known: Mapping[Path, str]) -> list[tuple[Path, str]]:
    """Pictures with names whose stems differ, as outputs are named after the stem.

    Args:
        found: Names by path.
        known: Names that pictures have from an earlier call, by resolved path; they are kept.
    """
    taken = {_stem(name) for name in known.values()}
    pictures = []
    for path, name in found.items():
        unique = known.get(path.resolve()) or next(n for n in _numbered(name) if _stem(n) not in taken)
        taken.add(_stem(unique))
        pictures.append((path, unique))
    return pictures


def _stem(name: str) -> str:
    return name.rpartition(".")[0].casefold()  # some file systems fold case


def _numbered(name: str) -> Iterator[str]:
    stem, _, suffix = name.rpartition(".")
    return chain([name], (f"{stem}_{number}.{suffix}" for number in count(2)))
