"""Pictures of a dataset: how they get into it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from segkit.choices import ImagePlacement
from segkit.data.pictures import read_header
from segkit.data.pixels import check_decodes, write_upright
from segkit.data.records import AnnotatedImage, replace_surrogates

_PILLOW_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP"}


def write_picture(
    image: AnnotatedImage, target: Path | None, placement: ImagePlacement, replaced: Sequence[Path] = ()
) -> str | None:
    """Write an image's picture to ``target``, in the frame that its points were drawn in.

    Args:
        image: The image.
        target: The file to write; None only checks whether it could be written.
        placement: ``link`` or ``copy`` a picture that can be used as it is; leave it where it is (``reference``);
            write no pictures (``none``).
        replaced: Files and folders, resolved, that will be deleted when the dataset is written: what a link or a path
            to a picture there leads to would be lost.

    Returns:
        The file written; None where there is none.

    Raises:
        InputError: The picture has to be decoded, and cannot be.
    """
    picture = image.picture
    source = picture.data or picture.path
    if placement in ("link", "reference") and replaced and picture.path is not None:
        place = picture.path.resolve()
        if any(place.is_relative_to(each) for each in replaced):
            placement = "copy"
        elif any((picture.path.parent.resolve() / picture.path.name).is_relative_to(each) for each in replaced):
            placement = "link"  # to where the link leads that is deleted
    if placement == "reference" and (
        picture.path is None or not picture.is_ready or replace_surrogates(str(picture.path)) != str(picture.path)
    ):
        placement = "link"  # it has to be written, or JSON cannot hold its name
    if placement in ("none", "reference") or source is None:
        return None
    if target is None:
        if not picture.is_ready:
            check_decodes(source, picture.name)
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    if not picture.is_ready or (isinstance(source, bytes) and not _has_format_of(source, target)):
        size = (image.height, image.width) if picture.resize else None
        write_upright(source, target, picture.name, turn=picture.exif == "apply", size=size)
    elif isinstance(source, bytes):
        target.write_bytes(source)
    else:
        _link_or_copy(source, target, placement)
    return str(target)


def _link_or_copy(path: Path, target: Path, placement: ImagePlacement) -> None:
    if placement == "link":
        try:
            target.symlink_to(path.resolve())
            return
        except OSError:  # file systems without links, Windows without the right to make them
            pass
    shutil.copyfile(path, target)


def _has_format_of(data: bytes, target: Path) -> bool:
    """Whether the bytes of a picture are of the format that a file name promises."""
    return read_header(data, target.name).format == _PILLOW_FORMATS.get(target.suffix.lower())
