"""Finding the image file that a LabelMe file annotates."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from segkit.data.files import is_file
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.formats.pictures.find import find_alike, find_by_stem, own_slashes, picture_places


class Found(NamedTuple):
    """An image file, and a sentence about what had to be guessed to find it (None: nothing)."""

    path: Path
    guess: str | None


def find_picture(json_path: Path, key: str, image_path: str | None, images_dir: Path | None) -> Found | None:
    """Find the file that a LabelMe JSON means, when it embeds none.

    Tried in this order: the path in the file, with either slash, in any case and Unicode form; an image with the stem
    of the JSON file, in its folder or in ``images_dir``; the name in the path, where pictures usually are.

    Args:
        json_path: The file.
        key: Its path relative to the source.
        image_path: The path in the file.
        images_dir: Where else to look.
    """
    folders = [json_path.parent] + ([images_dir] if images_dir else [])
    named = PurePosixPath(PureWindowsPath(image_path).as_posix()) if image_path else None
    if named and named.suffix.lower() != ".json":
        there = json_path.parent / own_slashes(json_path.parent, image_path or "")
        if (found := there if is_file(there) else find_alike(there)) is not None:
            return Found(found, None)
    missing = f"imagePath {image_path!r} does not exist" if named else "no imagePath"
    if (found := find_by_stem(json_path.stem, folders)) is not None:
        same = named is not None and named.name == found.name
        return Found(found, None if same else f"{missing}; took {found.name}, which has the JSON file's name")
    if named and named.suffix.lower() in PICTURE_SUFFIXES:
        found = picture_places(json_path, key, images_dir).find(str(named))
        return Found(found, f"{missing}; took {found.name}") if found is not None else None
    return None
