"""Finding the image file that a LabelMe file annotates."""

from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from segkit.data.files import is_file
from segkit.data.pictures import PICTURE_SUFFIXES


class Found(NamedTuple):
    """An image file, and a sentence about what had to be guessed to find it (None: nothing)."""

    path: Path
    guess: str | None


def find_picture(json_path: Path, image_path: str | None, images_dir: Path | None) -> Found | None:
    """Find the file that a LabelMe JSON means, when it embeds none.

    Tried in this order: the path in the file, with either slash; an image with the stem of the JSON file, in its folder
    or in ``images_dir``; the base name of the path, likewise.
    """
    folder = json_path.parent
    named = PureWindowsPath(image_path).as_posix() if image_path else None
    if named and Path(named).suffix.lower() != ".json":
        direct = folder / named
        if is_file(direct):
            return Found(direct, None)
    folders = [folder] + ([images_dir] if images_dir else [])
    for where in folders:
        for candidate in _with_stem(where, json_path.stem):
            same = named is not None and Path(named).name == candidate.name
            named_note = f"imagePath {image_path!r} does not exist" if named else "no imagePath"
            return Found(
                candidate, None if same else f"{named_note}; took {candidate.name}, which has the JSON file's name"
            )
    if named:
        for where in folders:
            candidate = where / Path(named).name
            if is_file(candidate) and candidate.suffix.lower() in PICTURE_SUFFIXES:
                return Found(candidate, f"imagePath {image_path!r} does not exist; took {candidate.name}")
    return None


def _with_stem(folder: Path, stem: str) -> list[Path]:
    # Listing a folder of 100,000 files for each of them would be quadratic: ask for the likely names instead.
    names = [stem + suffix for low in sorted(PICTURE_SUFFIXES) for suffix in (low, low.upper())]
    return [folder / name for name in names if is_file(folder / name)]
