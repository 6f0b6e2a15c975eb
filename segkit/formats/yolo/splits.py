"""The splits of a YOLO folder: ``train``, ``val`` and ``test`` of its ``data.yaml``, else its lists ``train.txt``, ...

A split is a folder, a list of images (``.txt``), or several of these. Paths are relative to ``path``, which is relative
to the YAML file; what starts with ``../`` is looked for in the folder of the YAML file, as Ultralytics does.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.split_lists import SplitLists, read_lines
from segkit.formats.splits import split_of_name, split_of_word
from segkit.formats.yolo.data_yaml import read_yaml, yaml_files


def read_splits(root: Path, names: Sequence[str]) -> tuple[dict[str, tuple[str, str]], list[Finding]]:
    """The split of every image that the folder's lists name, and which list; and findings.

    Args:
        root: The folder.
        names: The images, as paths below it.
    """
    lists = SplitLists(names)
    if not _add_declared(root, lists):
        for path in sorted([*root.glob("*.txt"), *(root / "ImageSets").rglob("*.txt")]):
            named = split_of_name(path.stem)
            if named is None or not named.exact:
                continue
            lines = read_lines(path)
            if lines and all(PurePosixPath(line.strip()).suffix.lower() in PICTURE_SUFFIXES for line in lines):
                lists.add_lines(named.split, path.relative_to(root).as_posix(), lines)
    return lists.results()


def _add_declared(root: Path, lists: SplitLists) -> bool:
    """Take what a YAML file says; whether one says anything."""
    for path in yaml_files(root):
        try:
            top = read_yaml(path)
        except InputError:
            continue  # whoever reads the names reports it
        declared = {key: split for key in top if isinstance(key, str) and (split := split_of_word(key))}
        base = top.get("path") if isinstance(top.get("path"), str) else ""
        found = False
        for key, split in declared.items():
            value = top[key]
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and each.strip():
                    found = True
                    _add(lists, root, split, path.name, str(base), each.strip())
        if found:
            return True
    return False


def _add(lists: SplitLists, root: Path, split: str, where: str, base: str, value: str) -> None:
    if not value.lower().endswith(".txt"):
        lists.add_folder(split, where, base, value)
        return
    pieces = [part for part in PurePosixPath(value.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    candidates = [root / base / value, *(root.joinpath(*pieces[at:]) for at in range(len(pieces)))]
    found = next(
        (path for path in candidates if path.is_file() and path.resolve().is_relative_to(root.resolve())), None
    )
    if found is None:
        lists.add_missing(split, where, value)
    else:
        lists.add_lines(split, f"{where}, {found.name}", read_lines(found))
