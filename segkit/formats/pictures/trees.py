"""Looking for a picture in all folders below some, where it is in none of the usual places."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from segkit.data.files import is_file, walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES

_MOST = 200_000  # files that are listed: somebody's home folder is not searched
_REPORT = "report.json"  # a folder with it is a dataset that segkit wrote


def folded(name: str) -> str:
    """A name, whatever its case and Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True, slots=True)
class PictureTrees:
    """All pictures below some folders, by name; they are listed when the first is asked for.

    Hidden folders and datasets that segkit wrote are left out.

    Attributes:
        roots: The folders.
    """

    roots: tuple[Path, ...]
    _listed: dict[Path, dict[str, list[str]]] = field(default_factory=dict, compare=False, repr=False)

    def find(self, tails: Sequence[str]) -> Path | None:
        """The only picture that ends with one of some paths; None where several do.

        Args:
            tails: A path with forward slashes, then with ever fewer of its folders.
        """
        for root in self.roots:
            if root not in self._listed:
                self._listed[root] = _list_pictures(root)
            named = self._listed[root].get(folded(PurePosixPath(tails[-1]).name), []) if tails else []
            for tail in tails:
                if ends := [path for path in named if f"/{folded(path)}".endswith(f"/{folded(tail)}")]:
                    if len(ends) == 1 and is_file(root / ends[0]):  # no named pipe
                        return root / ends[0]
                    break
        return None

    def below(self, path: Path) -> str | None:
        """The path of a picture relative to the folder that it was found below; None where it is below none."""
        inside = (path.relative_to(root) for root in self.roots if path.is_relative_to(root))
        return next((each.as_posix() for each in inside if ".." not in each.parts), None)


def _list_pictures(root: Path) -> dict[str, list[str]]:
    """The paths of the pictures below a folder, by folded name; of too large a folder, none."""
    found: dict[str, list[str]] = {}
    number = 0
    datasets: list[Path] = []
    for folder, names in walk_folders(root):
        number += len(names)
        if number > _MOST:
            return {}
        if _REPORT in names and folder != root:
            datasets.append(folder)
        if any(folder.is_relative_to(dataset) for dataset in datasets):
            continue
        prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
        for name in names:
            if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
                found.setdefault(folded(name), []).append(prefix + name)
    return found
