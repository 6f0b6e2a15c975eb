"""Writing a dataset folder: beside its place first, then moved in, so that none is ever half written."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

from segkit.config.convert import ImagePlacement
from segkit.dataset import AnnotatedImage
from segkit.errors import InputError
from segkit.formats.labelme_json import read_image_data
from segkit.pictures import read_header, write_upright

OWN_ENTRIES = ("train.json", "val.json", "test.json", "labels.txt", "report.json", "images")
_MARK = "report.json"  # a folder that has one was made by convert


def check_target(out: Path, force: bool) -> None:
    """Refuse a target that would cost the user something.

    Raises:
        InputError: It exists and ``force`` is off, or what is there was not made by segkit.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file", "choose another folder with --out")
    entries = [entry for entry in OWN_ENTRIES if (out / entry).exists()]
    if (out / _MARK).is_file():
        if not force:
            raise InputError(f"{out}: holds a dataset", "replace it with --force, or choose another --out")
    elif entries:
        raise InputError(f"{out}: has {', '.join(entries)} that segkit did not make", "choose another --out")


@contextmanager
def writing_beside(out: Path) -> Iterator[Path]:
    """A folder to write to, whose entries are moved into ``out`` at the end, or deleted if anything fails."""
    out = out.absolute()
    beside = out.parent / f".{out.name}.writing-{os.getpid()}"
    try:
        beside.mkdir(parents=True)
        yield beside
        out.mkdir(exist_ok=True)
        for entry in OWN_ENTRIES:
            _replace(beside / entry, out / entry)
    except PermissionError as error:
        raise InputError(f"{out}: no permission to write there", "choose another --out") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace(new: Path, old: Path) -> None:
    """Move ``new`` to ``old``; if there is no ``new``, the old one goes."""
    if old.is_dir() and not old.is_symlink():
        gone = new.with_name(f"{new.name}.old")
        old.rename(gone)
    elif not new.exists():
        old.unlink(missing_ok=True)
    if new.exists():
        new.replace(old)


def file_names(images: Sequence[AnnotatedImage]) -> list[str]:
    """A name for every picture below ``images/``: its own, below the folder of its annotation file, made unique."""
    taken: set[str] = set()
    names = []
    for image in images:
        folder = image.key.rpartition("/")[0]
        stem, suffix = PurePath(image.picture.name).stem, PurePath(image.picture.name).suffix
        own = PurePath(image.key).stem
        name, number = image.picture.name, 1
        while "/".join(filter(None, (folder, name))).casefold() in taken:  # some file systems fold case
            name = f"{own}{suffix}" if number == 1 else f"{stem}_{number}{suffix}"
            number += 1
        full = "/".join(filter(None, (folder, name)))
        taken.add(full.casefold())
        names.append(full)
    return names


def place(image: AnnotatedImage, target: Path, how: ImagePlacement) -> None:
    """Put an image's picture where the dataset says it is, in the frame that its points were drawn in.

    Raises:
        InputError: The picture cannot be decoded, though it has to be.
    """
    picture = image.picture
    target.parent.mkdir(parents=True, exist_ok=True)
    size = (image.height, image.width) if picture.resize else None
    if picture.embedded_in is not None:
        data = read_image_data(picture.embedded_in)
        if picture.exif == "none" and not picture.resize and _keeps_suffix(data, target):
            target.write_bytes(data)
        else:
            write_upright(data, target, turn=picture.exif == "apply", size=size)
    elif picture.path is not None and not picture.is_ready:
        write_upright(picture.path, target, turn=picture.exif == "apply", size=size)
    elif picture.path is not None:
        if how == "link":
            try:
                target.symlink_to(picture.path.resolve())
                return
            except OSError:  # file systems without links, Windows without the right to make them
                pass
        shutil.copyfile(picture.path, target)


def _keeps_suffix(data: bytes, target: Path) -> bool:
    kinds = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP"}
    return read_header(data, target.name).format == kinds.get(target.suffix.lower())
