"""Pictures of a dataset: their names, and how they get into it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath

from segkit.choices import ImagePlacement
from segkit.convert.spool import Entry
from segkit.data.pictures import check_decodes, read_header, write_upright
from segkit.data.records import AnnotatedImage, sound


def file_names(entries: Sequence[Entry]) -> list[str]:
    """A name for every picture below ``images/``: its own, below the folder of its annotation file, made unique."""
    taken: set[str] = set()
    names = []
    for entry in entries:
        folder = entry.key.rpartition("/")[0] if entry.folder is None else entry.folder
        stem, suffix = PurePath(entry.name).stem, PurePath(entry.name).suffix
        own = PurePath(entry.key).stem
        name, number = entry.name, 1
        while (full := "/".join(filter(None, (folder, name)))).casefold() in taken:  # some file systems fold case
            name = f"{own}{suffix}" if number == 1 else f"{stem}_{number}{suffix}"
            number += 1
        taken.add(full.casefold())
        names.append(full)
    return names


def place(image: AnnotatedImage, target: Path | None, how: ImagePlacement) -> str | None:
    """Put an image's picture at ``target``, in the frame that its points were drawn in.

    Args:
        image: Whose picture.
        target: The file to write; None only finds out whether it could be.
        how: Link or copy what is ready; leave it where it is (``reference``); have no pictures at all (``none``).

    Returns:
        The file written, None where there is none.

    Raises:
        InputError: The picture cannot be decoded, though it has to be.
    """
    picture = image.picture
    source = picture.data if picture.data is not None else picture.path
    if how == "reference" and (
        picture.path is None or not picture.is_ready or sound(str(picture.path)) != str(picture.path)
    ):
        how = "link"  # it has to be written, or JSON cannot hold its name
    if how in ("none", "reference") or source is None:
        return None
    if target is None:
        if not picture.is_ready:
            check_decodes(source, picture.name)
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    if not picture.is_ready or (picture.data is not None and not _keeps_suffix(picture.data, target)):
        size = (image.height, image.width) if picture.resize else None
        write_upright(source, target, picture.name, turn=picture.exif == "apply", size=size)
    elif picture.data is not None:
        target.write_bytes(picture.data)
    elif picture.path is not None:
        _link_or_copy(picture.path, target, how)
    return str(target)


def _link_or_copy(path: Path, target: Path, how: ImagePlacement) -> None:
    if how == "link":
        try:
            target.symlink_to(path.resolve())
            return
        except OSError:  # file systems without links, Windows without the right to make them
            pass
    shutil.copyfile(path, target)


def _keeps_suffix(data: bytes, target: Path) -> bool:
    kinds = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP"}
    return read_header(data, target.name).format == kinds.get(target.suffix.lower())


def name_pictures(entries: Sequence[Entry], names: Sequence[str], images_dir: Path) -> None:
    """Move the pictures that wait for their names below ``images_dir``."""
    folders: set[Path] = set()
    for entry, name in zip(entries, names, strict=True):
        if entry.placed is not None:
            target = images_dir / name
            if target.parent not in folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                folders.add(target.parent)
            os.replace(entry.placed, target)  # noqa: PTH105 -- twice as fast, and there are 100,000 of them
