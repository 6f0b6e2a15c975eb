"""The splits of a YOLO folder: ``train``, ``val`` and ``test`` of its ``data.yaml``, else its lists ``train.txt``, ...

A split is a folder, a list of images (``.txt``), or several of these. Paths are relative to ``path``, which is relative
to the YAML file; what starts with ``../`` is looked for in the folder of the YAML file, as Ultralytics does.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segkit.data.files import is_file
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.split_lists import SplitLists, read_list
from segkit.formats.splits import split_of_name, split_of_word
from segkit.formats.yolo.data_yaml import read_yaml, yaml_files

_NOTHING = ("", "~", "null", "Null", "NULL", "None")
_LONGEST = 4000  # characters of a path


def read_splits(
    root: Path, names: Sequence[str], data_yaml: Path | None = None
) -> tuple[dict[str, tuple[str, str]], list[Finding]]:
    """The split of every image that the folder's lists name, and which list; and findings.

    Folders of datasets may be in the folder: the outermost that says something about an image counts.

    Args:
        root: The folder.
        names: The images, as paths below it.
        data_yaml: A YAML file of the user, used instead of the folder's own.
    """
    splits: dict[str, tuple[str, str]] = {}
    findings: list[Finding] = []
    for folder in _folders_of(names):
        base = root / folder
        files = [data_yaml] if data_yaml is not None and not folder else yaml_files(base)
        texts = _lists_in(base)
        if not files and not texts:
            continue
        inside = {name.removeprefix(folder): name for name in names if name.startswith(folder) and name not in splits}
        lists = SplitLists(inside)
        if not _add_declared(base, files, lists):
            _add_lists(base, texts, lists)
        found, rows = lists.results()
        splits |= {inside[name]: (split, folder + where) for name, (split, where) in found.items()}
        findings += [replace(row, file=folder + row.file) for row in rows]
    return splits, findings


def _folders_of(names: Sequence[str]) -> list[str]:
    """The folders that images are in, directly or not, as the beginnings of their names; the source's own is first."""
    folders = {""}
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and f"{folder}/" not in folders:
            folders.add(f"{folder}/")
            folder = folder.rpartition("/")[0]
    return sorted(folders, key=lambda folder: (folder.count("/"), folder))


def _lists_in(folder: Path) -> list[Path]:
    """The text files that are named after a split."""
    paths = sorted([*folder.glob("*.txt"), *(folder / "ImageSets").rglob("*.txt")])
    return [path for path in paths if (named := split_of_name(path.stem)) and named.exact]


def _add_lists(folder: Path, paths: Sequence[Path], lists: SplitLists) -> None:
    """Take the text files that are lists of images; others are labels."""
    for path in paths:
        named, lines = split_of_name(path.stem), read_list(path)
        if named and lines and all(PurePosixPath(line.strip()).suffix.lower() in PICTURE_SUFFIXES for line in lines):
            lists.add_lines(named.split, path.relative_to(folder).as_posix(), lines)


def _add_declared(root: Path, files: Sequence[Path], lists: SplitLists) -> bool:
    """Take what the first YAML file says that names a split; whether one does."""
    for path in files:
        try:
            top = read_yaml(path)
        except InputError:
            continue  # whoever reads the names reports it
        base = top.get("path")
        found = False
        for key, value in top.items():
            split = split_of_word(key)
            for each in value if isinstance(value, list) else [value]:
                if split is not None and isinstance(each, str) and each.strip() not in _NOTHING:
                    found = True
                    _add(lists, root, split, path.name, base if isinstance(base, str) else "", each.strip()[:_LONGEST])
        if found:
            return True
    return False


def _add(lists: SplitLists, root: Path, split: str, where: str, base: str, value: str) -> None:
    if not value.lower().endswith(".txt"):
        lists.add_folder(split, where, base, value)
        return
    pieces = [part for part in PurePosixPath(value.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    candidates = [root / base / value, *(root.joinpath(*pieces[at:]) for at in range(len(pieces)))]
    found = next((path for path in candidates if is_file(path) and path.resolve().is_relative_to(root.resolve())), None)
    if found is None:
        lists.add_missing(split, where, value)
    else:
        lists.add_lines(split, f"{where}, {found.name}", read_list(found))
