"""Finding the picture that annotations name: one list of places for all formats.

Annotation files travel: they name pictures by paths of another machine, with the slashes of another system, in another
Unicode form, or by a URL. Each picture is looked for by itself, as folders may hold some of them only.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from segkit.data.files import find_file, is_file
from segkit.data.pictures import PICTURE_SUFFIXES, picture_names

_USUAL = ("images", "Images", "JPEGImages", "image", "imgs", "img", "data")


def picture_folders(annotations: Path, images_dir: Path | None = None) -> tuple[Path, ...]:
    """The folders where the pictures of an annotation file may be, in the order in which they are tried.

    Beside the file, in a folder ``images`` or one that is named as the file, below the folder above it (COCO's own
    layout: ``annotations/instances_train2017.json`` and ``train2017``), in CVAT's ``images/default``.

    Args:
        annotations: The annotation file.
        images_dir: Another folder, tried last.
    """
    here = annotations.absolute().parent
    stem = annotations.stem
    part = stem.rpartition("_")[2]  # train2017 of instances_train2017
    folders = [here / "images", here, here / stem]
    for root in (here, here.parent):
        folders += [root / "images" / part, root / "images" / "default", root / part]
        folders += [root / usual for usual in _USUAL]
        folders += [root, root / stem]
    folders += [images_dir] if images_dir is not None else []
    return tuple(folder for folder in dict.fromkeys(folders) if _is_dir(folder))


def _is_dir(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except (OSError, ValueError):
        return False


def find_named(names: Iterable[str], folders: Sequence[Path], base: Path | None = None) -> Path | None:
    """The first file that one of the names means.

    The path as it is, then with ever fewer of its folders; last, whatever the case, Unicode form or suffix of a name.

    Args:
        names: Of the picture, as an annotation file gives them: paths of any system.
        folders: Where to look.
        base: The folder of the annotation file: paths with ``..`` and absolute ones are taken as they are from there.
    """
    plain = [name.replace("\\", "/") for name in names if name]
    for name in plain:
        path = PurePosixPath(name)
        if base is not None and (path.is_absolute() or ".." in path.parts) and is_file(base / name):
            return base / name
    tails = [tail for name in plain for tail in _tails(name)]
    found = next((path for tail in tails for folder in folders if is_file(path := folder / tail)), None)
    if found is None and tails:
        found = next((path for tail in tails for folder in folders if (path := _alike(folder / tail))), None)
    return found


def find_by_stem(stem: str, folders: Sequence[Path]) -> Path | None:
    """The first picture with a stem, whatever its suffix."""
    exact = find_file(folders, picture_names(stem))
    return exact or next((path for folder in folders if (path := _alike(folder / stem))), None)


def base_name(name: str) -> str:
    """The last part of a path of any system, or of a URL."""
    return name.replace("\\", "/").partition("?")[0].rstrip("/").rpartition("/")[2]


def is_outside(path: Path, roots: Iterable[Path]) -> bool:
    """Whether a path leads out of all the folders; links inside them may lead anywhere."""
    there = _normal(path)
    return not any(there.is_relative_to(_normal(root)) for root in roots)


def _normal(path: Path) -> PurePosixPath | Path:
    parts: list[str] = []
    for part in path.absolute().parts:
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part != "..":
            parts.append(part)
    return Path(*parts)


def _tails(name: str) -> list[str]:
    """A path without the drive and ``..``, then with ever fewer of its folders."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    return ["/".join(parts[index:]) for index in range(len(parts))]


def _alike(path: Path) -> Path | None:
    """A picture in the folder of a path with the same name but for case, Unicode form or a missing suffix."""
    try:
        stamp = path.parent.stat().st_mtime_ns
    except (OSError, ValueError):
        return None
    names = _names_in(str(path.parent), stamp)
    key = _folded(path.name)
    found = names.get(key)
    if found is None and path.suffix.lower() not in PICTURE_SUFFIXES:
        found = next((names[key + suffix] for suffix in sorted(PICTURE_SUFFIXES) if key + suffix in names), None)
    return path.with_name(found) if found is not None else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(maxsize=16)
def _names_in(folder: str, stamp: int) -> dict[str, str]:
    """The pictures in a folder, by folded name; listed again when the folder has changed (``stamp``)."""
    names = sorted(path.name for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return {_folded(name): name for name in reversed(names) if is_file(Path(folder) / name)}
