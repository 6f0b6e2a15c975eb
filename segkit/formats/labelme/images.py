"""LabelMe -> annotated images: the picture, the frame that its points are in, the shapes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from segkit.data.complete import check_complete
from segkit.data.pictures import MAX_MASK_PIXELS, Header, read_header
from segkit.data.records import BACKGROUND, IGNORE, AnnotatedImage, Exif, Finding, Picture, ReadFile
from segkit.errors import InputError
from segkit.formats.encoding import not_utf8
from segkit.formats.labelme.file import Embedded, LabelmeFile, read_labelme
from segkit.formats.labelme.find_picture import find_picture
from segkit.formats.pictures.look import MAX_IMAGE_PIXELS, first_frame
from segkit.formats.shapes.entries import points_within, read_shapes
from segkit.formats.shapes.instances import join_instances
from segkit.formats.shapes.regions import ShapeOptions
from segkit.formats.source import Source
from segkit.formats.text import read_text
from segkit.units import format_size

_EXIF_APPLIED_SINCE = (3, 11)  # before, LabelMe showed and annotated the unturned pixels
_EMBEDDED_SUFFIX = {"JPEG": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}  # of others: .png


@dataclass(frozen=True, slots=True)
class LabelmeOptions:
    """Options of reading.

    ``pictures`` is False where only annotations are converted: then a file whose picture is missing is read too, and
    embedded pictures are not decoded.
    """

    images_dir: Path | None = None
    shapes: ShapeOptions = ShapeOptions()
    drop_flag: str | None = None
    pictures: bool = True


def open_labelme(files: Sequence[tuple[Path, str]], options: LabelmeOptions, labels_file: Path | None) -> Source:
    """LabelMe files as a source of images.

    Args:
        files: The files, each with its name in reports.
        options: How to read them.
        labels_file: Where LabelMe's ``labels.txt`` would be.
    """
    labels: tuple[str, ...] = ()
    if labels_file is not None:
        with suppress(InputError):  # there is none, or it is not a labels file
            labels = tuple(read_labels(labels_file))
    return Source("labelme", files, partial(read, options=options), len(files), labels=labels)


def read_labels(path: Path) -> list[str]:
    """Category names from LabelMe's ``labels.txt``, a line each, without its two special ones.

    Raises:
        InputError: It cannot be read.
    """
    lines = read_text(path, str(path)).splitlines()
    special = (IGNORE, BACKGROUND)
    return list(dict.fromkeys(name for line in lines if (name := line.strip()) and name not in special))


def read(file: tuple[Path, str], options: LabelmeOptions = LabelmeOptions()) -> ReadFile:
    """Read one LabelMe file of any release. Never raises for bad input: that becomes a finding.

    Args:
        file: The JSON file, and its name in reports.
        options: How.
    """
    path, key = file
    findings: list[Finding] = []
    num_shapes = 0
    try:
        source = read_labelme(path, picture=options.pictures)
        if source is None:
            return ReadFile.left_out(key, "not a LabelMe file")
        num_shapes = len(source.shapes)
        if options.drop_flag in source.flags:
            return ReadFile.left_out(key, f"flagged {options.drop_flag!r}", num_shapes)
        if source.code_page:
            findings.append(Finding(key, "repaired", not_utf8(source.code_page), shapes=0))
        picture, (height, width) = _frame(path, key, source, options, findings)
        if height * width >= MAX_IMAGE_PIXELS:
            raise InputError(f"an image of {format_size(height, width)} is too large for COCO RLE")
    except InputError as error:
        lost = Finding(key, "left out", error.why(path.name), shapes=num_shapes)
        return ReadFile(None, (*findings, lost), num_shapes)
    shapes = read_shapes(source.shapes, key, findings)
    instances = join_instances(shapes, key, height, width, options.shapes, findings)
    image = AnnotatedImage(key, picture, height, width, instances, source.split, source.flags)
    return ReadFile(image, tuple(findings), num_shapes)


def _frame(
    path: Path, key: str, source: LabelmeFile, options: LabelmeOptions, findings: list[Finding]
) -> tuple[Picture, tuple[int, int]]:
    """The picture that was annotated, and the (height, width) of the frame its points are in."""
    picture, header = _picture(path, key, source, options, findings)
    if header is None:
        assert source.size is not None
        return picture, source.size
    where = picture.path.name if picture.path is not None else "embedded image"
    turn = _turns(header, source)
    frame = header.upright if turn else (header.height, header.width)
    exif: Exif = "apply" if turn else "drop" if header.orientation != 1 else "none"
    if source.size is None or source.size == frame:
        return replace(picture, exif=exif), frame
    says = f"imageHeight x imageWidth is {source.size[0]}x{source.size[1]}"
    has = f"{says}, {where} has {frame[0]}x{frame[1]}"
    inside = points_within(source.shapes, frame)
    resize = False
    if source.size == frame[::-1]:
        if not inside:
            raise InputError(f"{has}, and the points do not lie in it", "was it rotated after it was annotated?")
        findings.append(Finding(key, "repaired", f"{has}: height and width were exchanged", shapes=0))
    elif points_within(source.shapes, source.size) or not inside:
        if source.size[0] * source.size[1] > max(MAX_MASK_PIXELS, 4 * frame[0] * frame[1]):
            raise InputError(f"{has}: too different to scale it")
        findings.append(Finding(key, "changed", f"{has}: image scaled to the points", shapes=0))
        frame, resize = source.size, True
    else:
        why = f"{says}, but {where} and the points have {frame[0]}x{frame[1]}"
        findings.append(Finding(key, "repaired", why, shapes=0))
    return replace(picture, exif=exif, resize=resize), frame


def _picture(
    path: Path, key: str, source: LabelmeFile, options: LabelmeOptions, findings: list[Finding]
) -> tuple[Picture, Header | None]:
    """The picture and its header; no header where there is no picture and the file has its size.

    Raises:
        InputError: There is no picture that can be read.
    """
    broken = None
    if source.embedded is not None:
        try:
            return _embedded(path, source.embedded, options)
        except InputError as error:
            broken = error
    found = find_picture(path, key, source.image_path, options.images_dir)
    if broken is not None:
        if found is None:
            raise broken
        why = f"{broken.message}; took {found.path.name} instead"
        findings.append(Finding(key, "repaired", why, shapes=0))
    elif found is None:
        names = f"image {source.image_path!r} not found" if source.image_path else "names no image"
        if options.pictures:
            hint = "put it beside the JSON file, name its folder with --images-dir, or convert without: --images none"
            raise InputError(names, hint)
        if source.size is None:
            raise InputError(f"{names}, and without imageHeight and imageWidth its size is unknown")
        findings.append(Finding(key, "noted", names, shapes=0))
        name = (source.image_path or "").replace("\\", "/").rpartition("/")[2]
        return Picture(name if name and not name.endswith(".json") else f"{path.stem}.jpg"), None
    elif found.guess:
        findings.append(Finding(key, "repaired", found.guess, shapes=0))
    header = read_header(found.path, found.path.name)
    check_complete(found.path, found.path.name, header.format)
    if header.frames > 1:
        findings.append(Finding(key, "noted", first_frame(found.path.name, header), shapes=0))
    return Picture(found.path.name, found.path), header


def _embedded(path: Path, embedded: Embedded, options: LabelmeOptions) -> tuple[Picture, Header]:
    if options.pictures:
        data = embedded.decode()
        header = read_header(data, "imageData")
        check_complete(data, "imageData", header.format)
    else:
        data = None
        try:
            header = read_header(embedded.head(), "imageData")
        except InputError:  # the header is longer than what was read
            again = read_labelme(path) if not embedded.whole else None
            whole = again.embedded if again is not None else embedded
            if whole is None or not whole.whole:
                raise
            header = read_header(whole.decode(), "imageData")
    return Picture(path.stem + _EMBEDDED_SUFFIX.get(header.format, ".png"), None, data), header


def _turns(header: Header, source: LabelmeFile) -> bool:
    """Whether the points were drawn on the picture as its orientation tag turns it."""
    if header.orientation == 1:
        return False
    if header.upright != (header.height, header.width) and source.size is not None:
        if source.size == header.upright:
            return True
        if source.size == (header.height, header.width):
            return False
    return source.version >= _EXIF_APPLIED_SINCE
