"""The splits that a source has: what its files say, else what its folders and files are named after."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from segkit.conversion.spool import ImageEntry
from segkit.formats.splits import NamedSplit, split_of_word, splits_of_paths

IN_FILES = 'the key "split" of the files'


class SourceSplit(NamedTuple):
    """The split that the source gives an image, and where it says so: ``folders``, ``files``, or the name of a list."""

    split: str
    where: str
    name: str = ""


def source_splits(entries: Sequence[ImageEntry], labels: Mapping[str, object]) -> list[SourceSplit | None]:
    """The split that the source gives each image.

    A list or a key in a file counts first, then the name of the annotation file that has the image among others, with
    its folders, then the folders of the image. A single split that is named like a label is a folder of one class.

    Args:
        entries: The images.
        labels: The labels of the source.
    """
    of_files = splits_of_paths([_file_parts(entry.annotation_file) for entry in entries])
    of_folders = splits_of_paths([tuple(entry.key.split("/")[:-1]) for entry in entries])
    found = [
        _declared(entry) or _of_file(entry, file) or _named("folders", folder)
        for entry, file, folder in zip(entries, of_files, of_folders, strict=True)
    ]
    names = {each.name for each in found if each is not None}
    if len({each.split for each in found if each is not None}) == 1 and names and names <= labels.keys():
        return [None] * len(entries)
    return found


def describe(splits: Sequence[SourceSplit]) -> str:
    """Where splits come from, in words: ``folders train2017, val2017``."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for each in splits:
        names[each.where].setdefault(each.name)
    return ", ".join(_with_names(where, [name for name in some if name]) for where, some in names.items())


def _with_names(where: str, names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return " ".join(filter(None, (where, ", ".join(names[:6]) + more)))


def _file_parts(key: str | None) -> tuple[str, ...]:
    if key is None:
        return ()
    *folders, name = key.split("/")
    return (*folders, name.rpartition(".")[0])


def _declared(entry: ImageEntry) -> SourceSplit | None:
    split = split_of_word(entry.split or "")
    return None if split is None else SourceSplit(split, entry.split_from or IN_FILES)


def _of_file(entry: ImageEntry, named: NamedSplit | None) -> SourceSplit | None:
    parts = _file_parts(entry.annotation_file)
    return _named("files" if named and named.name == parts[-1] else "folders", named)


def _named(kind: str, named: NamedSplit | None) -> SourceSplit | None:
    return None if named is None else SourceSplit(named.split, kind, named.name)
