"""The folder of ``label --next``: pictures with predictions to correct, and the way back of what a person saved.

``next.json`` there says where each picture is from, and the checksum of the LabelMe file that segkit wrote. A file
whose content is another by now was saved by a person; a file that is as it was written was not touched.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.conversion.names import unique_names
from segkit.data.files import checksum, relative_path, temporary_file
from segkit.data.records import Result
from segkit.errors import InputError
from segkit.formats.labelme.write import labelme_document, result_shapes
from segkit.units import counted

MANIFEST, PREDICTED = "next.json", "predicted"


@dataclass(frozen=True, slots=True)
class NextPicture:
    """A picture to annotate.

    Attributes:
        path: The file.
        target: The LabelMe file that a person's annotations will be.
        results: What is drawn for correction.
        height: Upright.
        width: Likewise.
    """

    path: Path
    target: Path
    results: tuple[Result, ...]
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Merged:
    """What came back: LabelMe files that were merged, how many were not touched, and what was not merged and why."""

    saved: tuple[Path, ...] = ()
    untouched: int = 0
    kept: tuple[str, ...] = ()

    def said(self) -> list[str]:
        """The same in lines."""
        lines = [f"  {path}" for path in self.saved]
        if self.saved or self.untouched:
            saved = counted(len(self.saved), "file was saved", "files were saved")
            lines.append(f"{saved}; {self.untouched} not touched, and still without annotations")
        return [*lines, *(f"warning: {why}" for why in self.kept)]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"saved": list(map(str, self.saved)), "untouched": self.untouched, "kept": list(self.kept)}


def names_in(pictures: Sequence[NextPicture]) -> list[str]:
    """Names that sort in the order of the list, as LabelMe opens them: ``03_plate.png``."""
    digits = max(2, len(str(len(pictures))))
    wanted = [[f"{n:0{digits}}_{each.path.name}"] for n, each in enumerate(pictures, 1)]
    return unique_names(wanted, by_stem=True, taken=[MANIFEST])


def write_next(folder: Path, pictures: Sequence[NextPicture], names: Mapping[int, str]) -> None:
    """Write the pictures (links, where there are links) and LabelMe files with predictions.

    Args:
        folder: New or empty.
        pictures: What to annotate.
        names: Category names by id.

    Raises:
        InputError: The folder has files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: has files that segkit did not make", "empty it, or name another folder with --into"
        )
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for each, name in zip(pictures, names_in(pictures), strict=True):
        picture = folder / name
        try:
            picture.symlink_to(each.path.resolve())
        except OSError:  # file systems without links
            shutil.copyfile(each.path, picture)
        shapes = list(result_shapes(each.results, dict(names), each.height, each.width))
        for shape in shapes:
            shape["flags"] = {PREDICTED: True}
        document = labelme_document(shapes, name, each.height, each.width, [PREDICTED])
        file = picture.with_suffix(".json")
        with temporary_file(file, inside=folder) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8", "backslashreplace")
        target = str(each.target.absolute())
        entries.append({"file": file.name, "picture": name, "target": target, "from": str(each.path.resolve()),
                        "checksum": checksum(file)})  # fmt: skip
    _write_manifest(folder, entries)


def merge_saved(folder: Path, root: Path) -> Merged:
    """Move what a person saved to where it belongs, and remove the rest; nothing that a person saved is overwritten.

    Args:
        folder: The folder of ``--next``.
        root: Where its pictures are from; nothing is written outside.

    Raises:
        InputError: The folder is not one of ``--next``.
    """
    if not folder.exists():
        return Merged()
    entries = _read_manifest(folder)
    saved, untouched, kept, left = [], 0, [], []
    for entry in entries:
        file, target = folder / Path(entry["file"]).name, Path(entry["target"])
        if not file.is_file() or checksum(file) == entry["checksum"]:
            untouched += 1
            _remove(folder, entry)
            continue
        why = _merge(file, target, Path(entry["from"]), root)
        if why is None:
            saved.append(target)
            _remove(folder, entry)
        else:
            kept.append(f"{file}: {why}")
            left.append(entry)
    if left:
        _write_manifest(folder, left)
    else:
        (folder / MANIFEST).unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
        else:
            some = sorted(path.name for path in folder.iterdir())
            kept.append(f"{folder}: has {counted(len(some), 'file', 'files')} of others: {', '.join(some[:3])}")
    return Merged(tuple(saved), untouched, tuple(kept))


def _merge(file: Path, target: Path, picture: Path, root: Path) -> str | None:
    """Write what a person saved beside the picture; why not, in words, where that is not possible."""
    if not _is_below(target, root):
        return f"{target} is outside of {root}, and is not written; it stays here"
    if target.exists():
        return f"{target} was saved meanwhile, and is not overwritten; it stays here"
    if not target.parent.is_dir():
        return f"{target.parent} is gone; it stays here"
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
        shapes = document["shapes"]
        if not isinstance(shapes, list):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        return "is no LabelMe file; it stays here"
    flags = document.get("flags")
    document["flags"] = {n: on for n, on in flags.items() if n != PREDICTED} if isinstance(flags, dict) else {}
    document["shapes"] = [_without_marks(shape) for shape in shapes]
    document["imagePath"] = relative_path(picture, target.parent)
    with temporary_file(target) as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8", "backslashreplace")
    return None


def _is_below(target: Path, root: Path) -> bool:
    """Whether a file is in a folder: by its path, as folders in it may be links, or by where it really is."""
    if target.suffix != ".json":
        return False
    by_path = Path(os.path.normpath(target.absolute())).is_relative_to(os.path.normpath(root.absolute()))
    return by_path or target.resolve().is_relative_to(root.resolve())


def _without_marks(shape: Any) -> Any:
    """A shape without what says that it was predicted: a person has looked at it."""
    if not isinstance(shape, dict):
        return shape
    flags, description = shape.get("flags"), shape.get("description")
    out = {name: value for name, value in shape.items() if name != "score"}
    out["flags"] = {n: on for n, on in flags.items() if n != PREDICTED} if isinstance(flags, dict) else {}
    if "score" in shape and isinstance(description, str) and description.startswith("score "):
        out["description"] = ""
    return out


def _remove(folder: Path, entry: Mapping[str, str]) -> None:
    for name in (entry["file"], entry["picture"]):
        (folder / Path(name).name).unlink(missing_ok=True)


def _write_manifest(folder: Path, entries: Sequence[Mapping[str, str]]) -> None:
    with temporary_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps({"next": list(entries)}, indent=1) + "\n", "utf-8", "backslashreplace")


def _read_manifest(folder: Path) -> list[dict[str, str]]:
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["next"]
        return [{name: str(entry[name]) for name in ("file", "picture", "target", "from", "checksum")}
                for entry in entries]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: is no folder of segkit label --next", "empty it, or name another folder with --into"
        ) from error
