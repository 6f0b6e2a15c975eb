"""Finding the image file that a LabelMe file annotates."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from segkit.data.files import find_file, is_file
from segkit.data.pictures import PICTURE_SUFFIXES, picture_names


class Found(NamedTuple):
    """An image file, and a sentence about what had to be guessed to find it (None: nothing)."""

    path: Path
    guess: str | None


def find_picture(json_path: Path, image_path: str | None, images_dir: Path | None) -> Found | None:
    """Find the file that a LabelMe JSON means, when it embeds none.

    Tried in this order: the path in the file, with either slash; an image with the stem of the JSON file, in its folder
    or in ``images_dir``; the base name of the path, likewise.
    """
    folders = [json_path.parent] + ([images_dir] if images_dir else [])
    named = PurePosixPath(PureWindowsPath(image_path).as_posix()) if image_path else None
    if named and named.suffix.lower() != ".json" and is_file(json_path.parent / named):
        return Found(json_path.parent / named, None)
    missing = f"imagePath {image_path!r} does not exist" if named else "no imagePath"
    if (found := find_file(folders, picture_names(json_path.stem))) is not None:
        same = named is not None and named.name == found.name
        return Found(found, None if same else f"{missing}; took {found.name}, which has the JSON file's name")
    if named and named.suffix.lower() in PICTURE_SUFFIXES and (found := find_file(folders, [named.name])) is not None:
        return Found(found, f"{missing}; took {found.name}")
    return None
