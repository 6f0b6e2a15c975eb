"""Looking at a picture: whether it is one, whether it is complete, and which frame its annotations are in.

Only headers are read. An annotation file may say another size than the picture has: because the picture was scaled
since (annotations are scaled), because height and width were exchanged (repaired), because the EXIF orientation was not
applied (the pixels stay as they are stored), or because it is another picture.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segkit.data.complete import check_complete
from segkit.data.pictures import Header, read_header
from segkit.data.records import Action, Exif, Finding, Picture
from segkit.errors import InputError
from segkit.formats.pictures.find import PicturePlaces
from segkit.units import format_size

Size = tuple[int, int]  # (height, width)
MAX_IMAGE_PIXELS = 1 << 32  # COCO's run lengths are 32-bit: a file that says more is not believed
_RGB = 3
_FAR_LARGER = 8  # times: nobody scales a picture so far, and a wrong size may have been written


class Frame(NamedTuple):
    """The frame that annotations are in, and how the picture gets its own.

    Attributes:
        drawn: (height, width) that the coordinates of the annotations refer to.
        size: (height, width) of the picture as it will be stored; where it is another, annotations are scaled.
        exif: What to do with the orientation tag.
        action: The kind of finding, where there is one.
        why: Its sentence.
    """

    drawn: Size
    size: Size
    exif: Exif = "none"
    action: Action = "noted"
    why: str = ""


class Look(NamedTuple):
    """A picture that was looked at, the frame of its annotations, and findings."""

    picture: Picture
    frame: Frame
    findings: tuple[Finding, ...]


def declared_size(height: Any, width: Any) -> Size | None:
    """(height, width) as an annotation file says it, in numbers or texts; None where it is no size of an image."""
    size = _side(height), _side(width)
    return size if 0 < size[0] * size[1] < MAX_IMAGE_PIXELS else None


def _side(value: Any) -> int:
    try:
        side = float(value) if type(value) in (int, float, str) else 0.0
    except (ValueError, OverflowError):
        return 0
    return int(side) if side.is_integer() and side > 0 else 0


def look(
    path: Path,
    key: str,
    declared: Size | None,
    fits: Callable[[Size], bool] = lambda size: True,
    says: str = "the file says",
) -> Look:
    """Look at a picture file.

    Args:
        path: The file.
        key: Names the picture in findings.
        declared: (height, width) that the annotations say, if they do.
        fits: Whether the annotations lie in a frame; asked where height and width seem exchanged.
        says: The beginning of the sentence on sizes that differ.

    Raises:
        InputError: It is no picture, is cut off, or has another size that nothing explains.
    """
    try:
        header = read_header(path, path.name)
        check_complete(path, path.name, header.format)
    except InputError as error:  # findings have the name already
        raise InputError(error.message.removeprefix(f"{path.name}: "), error.hint) from error
    frame = frame_of(header, declared, fits, says)
    findings = [Finding(key, frame.action, frame.why, shapes=0)] if frame.why else []
    if header.channels != _RGB:
        why = f"has {header.channels} channels: a U-Net takes them all, other models what is shown of them"
        findings.append(Finding(key, "noted", why, shapes=0))
    elif header.frames > 1:
        findings.append(Finding(key, "noted", first_frame("the image", header), shapes=0))
    return Look(Picture(path.name, path, exif=frame.exif), frame, tuple(findings))


def find_and_look(places: PicturePlaces, names: Sequence[str], key: str, declared: Size | None) -> Look:
    """Find the picture that annotations name, and look at it.

    Args:
        places: Where it may be.
        names: The names that it may have, that in the file first.
        key: Names the picture in findings.
        declared: (height, width) that the annotations say, if they do.

    Raises:
        InputError: It is not found, or as for ``look``.
    """
    found = places.find(*names)
    if found is None:
        raise InputError("image not found")
    seen = look(found, key, declared)
    return seen._replace(findings=(*seen.findings, *places.outside(found, names[0], key)))


def first_frame(name: str, header: Header) -> str:
    """The sentence on a picture of several frames or pages."""
    return f"{name} has {header.frames} {'pages' if header.format == 'TIFF' else 'frames'}: the first is used"


def frame_of(
    header: Header,
    declared: Size | None,
    fits: Callable[[Size], bool] = lambda size: True,
    says: str = "the file says",
) -> Frame:
    """The frame of annotations that say a size.

    Where the size does not tell whether the orientation tag was applied, it was: browsers and viewers do.

    Args:
        header: Of the picture.
        declared: (height, width) that the annotations say, if they do.
        fits: Whether the annotations lie in a frame.
        says: The beginning of the sentence on sizes that differ.

    Raises:
        InputError: The sizes differ, and nothing explains it.
    """
    upright, stored = header.upright, (header.height, header.width)
    apply: Exif = "apply" if header.orientation != 1 else "none"
    if declared is None or declared == upright:
        return Frame(upright, upright, apply)
    if declared == stored:
        return Frame(stored, stored, "drop")
    differ = f"{says} {declared[0]}x{declared[1]}, the image has {format_size(*upright)}"
    if declared == upright[::-1] and fits(upright):
        return Frame(upright, upright, apply, "repaired", f"{differ}: height and width were exchanged")
    unturned: Exif = "drop" if header.orientation != 1 else "none"
    for size, exif in ((upright, apply), (stored, unturned)):
        if is_scaled(declared, size):
            if declared[0] > _FAR_LARGER * size[0] and fits(size):
                return Frame(size, size, exif, "repaired", f"{differ}, and annotations lie in it")
            return Frame(declared, size, exif, "changed", f"{differ}: annotations scaled")
    raise InputError(differ, "is it another picture, or was it cropped?")


def is_scaled(one: Size, other: Size) -> bool:
    """Whether one size is the other, scaled and rounded: within a pixel of the smaller one."""
    small, large = sorted((one, other))
    if small[0] > large[0] or small[1] > large[1]:
        return False
    factors = large[0] / small[0], large[1] / small[1]
    return any(abs(large[0] / factor - small[0]) <= 1 and abs(large[1] / factor - small[1]) <= 1 for factor in factors)
