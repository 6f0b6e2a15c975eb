"""Pictures in one folder (``--images-dir``) and masks in another: they belong together by folder and stem."""

from pathlib import Path, PurePosixPath

from segkit.data.files import walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.formats.label_images.pairs import ENDINGS, MASK_SUFFIXES, ImageAndMask


def find_pairs_apart(pictures: Path, masks: Path, skip: Path | None = None) -> list[ImageAndMask]:
    """The pictures under one folder that have a mask under another, sorted.

    A picture takes the mask that is in the same place below its folder, or the only one of its stem.

    Args:
        pictures: The folder of the pictures.
        masks: The folder of the masks.
        skip: A folder to leave out: what is written must not be read back.
    """
    by_stem: dict[str, list[PurePosixPath]] = {}
    for folder, names in walk_folders(masks, skip):
        for name in names:
            path = folder / name
            if path.suffix.lower() in MASK_SUFFIXES and not path.is_relative_to(pictures):
                place = PurePosixPath(path.relative_to(masks).as_posix())
                by_stem.setdefault(place.stem.casefold(), []).append(place)
    pairs = []
    for folder, names in walk_folders(pictures, skip):
        for name in names:
            path = folder / name
            if path.suffix.lower() in PICTURE_SUFFIXES:
                key = path.relative_to(pictures).as_posix()
                mask = _mask_of(PurePosixPath(key), by_stem)
                if mask is not None:
                    pairs.append(ImageAndMask(path, masks / mask, key, mask.as_posix()))
    return sorted(pairs, key=lambda pair: pair.key)


def _mask_of(picture: PurePosixPath, by_stem: dict[str, list[PurePosixPath]]) -> PurePosixPath | None:
    place = picture.parent.parts
    for ending in ("", *ENDINGS):
        found = by_stem.get(picture.stem.casefold() + ending, [])
        near = [mask for mask in found if mask.parent.parts[-len(place) or None :] == place]
        if near or len(found) == 1:
            return (near or found)[0]
    return None
