"""The images of ``--unlabelled``."""

from collections.abc import Sequence
from pathlib import Path

from segkit.data.files import unreadable_folders
from segkit.data.pictures import read_header
from segkit.data.records import Dataset, Image
from segkit.errors import ConfigError, InputError
from segkit.inference.input_files import find_pictures


def unlabelled_images(sources: Sequence[str], training: Dataset, val: Dataset | None) -> tuple[Dataset, list[str]]:
    """The images of folders and globs that are in no split, and what is to be said of the others.

    Args:
        sources: Files, folders, globs.
        training: The training split.
        val: The validation split.

    Raises:
        SegkitError: There are none.
    """
    known = {split.paths.of(image).resolve() for split in (training, val) if split for image in split.images}
    with unreadable_folders() as closed:
        paths = list(find_pictures(sources, None, ()))
    images, unreadable, inside = list[Image](), list[str](), 0
    for path in paths:
        if path.resolve() in known:
            inside += 1
            continue
        try:
            height, width = read_header(path).upright
        except InputError as error:
            unreadable.append(error.message)
            continue
        images.append(Image(len(images) + 1, str(path.absolute()), height, width))
    if not images:
        raise ConfigError(
            f"--unlabelled {','.join(sources)}: all {len(paths)} pictures there are in the dataset, or cannot be read",
            "name a folder of other pictures",
        )
    notes = [f"{inside} of the unlabelled pictures are in the dataset, and are left out"] if inside else []
    if unreadable:
        notes.append(f"{len(unreadable)} of the unlabelled pictures cannot be read: {unreadable[0]}")
    notes += [
        f"a folder of unlabelled pictures cannot be read: {folder}: {why}" for folder, why in sorted(closed.items())
    ]
    return Dataset(tuple(images), (), training.categories, Path("/")), notes
