"""Finding the picture that annotations name: one list of places for all formats.

Annotation files travel: they name pictures by paths of another machine, with the slashes of another system, in another
Unicode form, or by a URL. Each picture is looked for by itself, as folders may hold some of them only.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from segkit.data.files import find_file, is_file
from segkit.data.pictures import PICTURE_SUFFIXES, picture_names
from segkit.data.records import Finding
from segkit.formats.pictures.trees import PictureTrees, folded

_USUAL = ("images", "Images", "JPEGImages", "image", "imgs", "img", "data", "train2017", "val2017", "test2017")
_TRIED = 20  # names of pictures, to find the folder of a dataset
_LOOKED_FOR = 200  # at least, to find the folder that most of them are relative to


@dataclass(frozen=True, slots=True)
class PicturePlaces:
    """Where the pictures of an annotation file are looked for.

    Attributes:
        base: The folder of the annotation file.
        folders: The folders that are searched, in this order; all exist.
        roots: Pictures are expected below them; those that a path leads to elsewhere are reported.
        trees: Where any folder may have a picture that is in none of ``folders``.
        names: All pictures of the file, folded: what one of them is found as is no other one.
    """

    base: Path
    folders: tuple[Path, ...]
    roots: tuple[Path, ...]
    trees: PictureTrees = PictureTrees(())
    names: frozenset[str] = frozenset()

    def find(self, *names: str) -> Path | None:
        """The first file that one of the names of a picture means.

        The path as it is, then with ever fewer of its folders; then whatever the case, Unicode form or suffix of its
        name; then in any folder of the source, if only one picture there has the name; last, all this as in
        a URL, where a space is %20. Paths may be those of any system.
        """
        if (found := self._plain(names[0])) is not None:
            return found
        plain = [name.replace("\\", "/") for name in names if name]
        for name in filter(_leads_away, plain):
            if is_file(self.base / name):
                return self.base / name
        decoded = [text for name in plain for text in _of_url(name) if text != name]
        found = self._by_tails(plain) or (self._by_tails(decoded) if decoded else None)
        return None if found is not None and self._is_another(found, plain) else found

    def _by_tails(self, plain: Sequence[str]) -> Path | None:
        """The first file that one of some paths with forward slashes means, with ever fewer of its folders."""
        tails = [tail for name in plain for tail in _tails(name)]
        exact = ((folder / tail) for tail in tails for folder in self.folders)
        found = next(filter(is_file, exact), None)
        if found is None:
            alike = (path for tail in tails for folder in self.folders if (path := find_alike(folder / tail)))
            found = next(alike, None) or next((path for name in plain if (path := self.trees.find(_tails(name)))), None)
        return found

    def _is_another(self, path: Path, names: Sequence[str]) -> bool:
        """Whether a file that was found by a part of a name is the one that another whole name means."""
        ends = {folded("/".join(path.parts[-number:])) for number in range(1, len(path.parts))}
        return not ends.isdisjoint(self.names) and ends.isdisjoint(folded(inner_path(name)) for name in names)

    def _plain(self, name: str) -> Path | None:
        """The file of a name that is relative to one of the folders, as nearly all are."""
        if not is_plain(name):
            return None
        return next((path for folder in self.folders if is_file(path := folder / name)), None)

    def inner_path(self, name: str) -> str:
        """``inner_path`` of a picture's name, where a file that has backslashes in its own name keeps them."""
        own = "\\" in name and self._plain(name) is not None
        return below(name) if own else inner_path(name)

    def key_beside(self, file_key: str, name: str) -> str:
        """The name in reports of a picture that an annotation file names: in the folder of the file, and below that."""
        return "/".join(filter(None, (file_key.rpartition("/")[0], self.inner_path(name))))

    def for_names(self, names: Sequence[str]) -> "PicturePlaces":
        """The same places; the folder of the annotation file comes first where it has most of the file's pictures.

        ``images/a.png`` may be in the folder of the file and in its folder ``images``, too: all names of a file are
        relative to one of them.

        Args:
            names: All of them; a sample is looked for.
        """
        places = replace(self, names=frozenset(folded(inner_path(name)) for name in names))
        if self.base not in self.folders[1:]:
            return places
        sample = [name for name in names[:: max(1, len(names) // _LOOKED_FOR)] if is_plain(name) and "/" in name]
        counts = [sum(is_file(folder / name) for name in sample) for folder in (self.base, self.folders[0])]
        if counts[0] <= counts[1]:
            return places
        return replace(places, folders=(self.base, *(folder for folder in self.folders if folder != self.base)))

    def folder_of(self, names: Sequence[str]) -> Path:
        """The folder that the names of pictures are relative to: the first that has one of the first names."""
        for name in names[:_TRIED]:
            if (found := next((folder for folder in self.folders if is_file(folder / name)), None)) is not None:
                return found
        return self.folders[0] if self.folders else self.base

    def outside(self, path: Path, name: str, key: str) -> list[Finding]:
        """The finding, with ``key``, on a picture to which a path with ``..``, or an absolute one, leads elsewhere."""
        if not _leads_away(name.replace("\\", "/")):
            return []
        there = _normal(path)
        if any(there.is_relative_to(_normal(root)) for root in self.roots):
            return []
        return [Finding(key, "noted", f"{there.parent} lies outside of the source folder", shapes=0)]


def picture_places(annotations: Path, key: str, images_dir: Path | None = None) -> PicturePlaces:
    """The folders where the pictures of an annotation file may be.

    Beside the file, in a folder ``images`` or one that is named as the file, below the folder above it (COCO's own
    layout: ``annotations/instances_train2017.json`` and ``train2017``), in CVAT's ``images/default``; last, in any
    folder of the source or of ``images_dir``.

    Args:
        annotations: The annotation file.
        key: Its path relative to the source.
        images_dir: Another folder, tried last.
    """
    here = annotations.absolute().parent
    stem = annotations.stem
    part = stem.rpartition("_")[2]  # train2017 of instances_train2017
    folders = [here / "images", here, here / stem]
    for root in (here, here.parent):
        folders += [root / "images" / part, root / "images" / "default", root / part]
        folders += [root / usual for usual in _USUAL]
        folders += [root / stem, root]
    given = [images_dir] if images_dir is not None else []
    found = tuple(folder for folder in dict.fromkeys([*folders, *given]) if _is_dir(folder))
    above = here.parents
    source = above[key.count("/") - 1] if 0 < key.count("/") <= len(above) else here
    roots = (source, *given, *(folder for folder in found if folder not in above))
    return PicturePlaces(here, found, roots, PictureTrees((source, *given)))


def _is_dir(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except (OSError, ValueError):
        return False


def _of_url(name: str) -> tuple[str, str]:
    """What a name means as part of a URL: whole, as a query may hold the path, and without query and fragment."""
    return unquote(name), unquote(re.split("[?#]", name, maxsplit=1)[0])


def is_plain(name: str) -> bool:
    """Whether a name is relative to a folder, without further ado."""
    return bool(name) and name[0] not in "/\\" and ".." not in name and ("\\" not in name or os.sep == "/")


def _leads_away(name: str) -> bool:
    """Whether a path with forward slashes is absolute or has ``..``."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def find_by_stem(stem: str, folders: Sequence[Path]) -> Path | None:
    """The first picture with a stem, whatever its suffix."""
    exact = find_file(folders, picture_names(stem))
    return exact or next((path for folder in folders if (path := find_alike(folder / stem))), None)


def inner_path(name: str) -> str:
    """A path of any system without what leads out of a folder: the drive, ``..``, the first slash."""
    return below(name.replace("\\", "/"))


def below(name: str) -> str:
    """``inner_path`` of a path with forward slashes."""
    return "/".join(_parts(name))


def own_slashes(folder: Path, name: str) -> str:
    """A path of any system with forward slashes; backslashes that a file in a folder has in its own name stay."""
    own = "\\" in name and os.sep == "/" and is_file(folder / name)
    return name if own else name.replace("\\", "/")


def base_name(name: str) -> str:
    """The last part of a path of any system, or of a URL."""
    return name.replace("\\", "/").partition("?")[0].rstrip("/").rpartition("/")[2]


def _normal(path: Path) -> Path:
    """Absolute, without ``..``; links are not followed."""
    parts: list[str] = []
    for part in path.absolute().parts:
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part != "..":
            parts.append(part)
    return Path(*parts)


def _tails(name: str) -> list[str]:
    """A path without the drive and ``..``, then with ever fewer of its folders."""
    parts = _parts(name)
    return ["/".join(parts[index:]) for index in range(len(parts))]


def find_alike(path: Path) -> Path | None:
    """A picture in the folder of a path with the same name but for case, Unicode form or a missing suffix."""
    try:
        stamp = path.parent.stat().st_mtime_ns
    except (OSError, ValueError):
        return None
    names = _names_in(str(path.parent), stamp)
    key = folded(path.name)
    found = names.get(key)
    if found is None and path.suffix.lower() not in PICTURE_SUFFIXES:
        found = next((names[key + suffix] for suffix in sorted(PICTURE_SUFFIXES) if key + suffix in names), None)
    return path.with_name(found) if found is not None else None


@lru_cache(maxsize=16)
def _names_in(folder: str, stamp: int) -> dict[str, str]:
    """The pictures in a folder, by folded name; listed again when the folder has changed (``stamp``)."""
    names = sorted(path.name for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return {folded(name): name for name in reversed(names) if is_file(Path(folder) / name)}


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
