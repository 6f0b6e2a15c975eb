"""Which files an output folder of ``predict`` has, by format, and their removal."""

from collections.abc import Sequence
from pathlib import Path

from segkit.data.files import check_links, fingerprint, path_inside, remove_empty_folders, remove_temporary_files
from segkit.evaluation.predicted_images import JOURNAL
from segkit.inference.input_files import Picture
from segkit.inference.journal import PictureResults, read_journal
from segkit.inference.number_maps import PANOPTIC
from segkit.inference.tables import FILES as TABLES

# Folders with a file for each picture, and the endings of these.
ENDINGS = {
    "overlay": ".jpg",
    "labelme": ".json",
    "idmask": ".png",
    "classmap": ".png",
    "panoptic": ".png",
    "measures": ".json",
    "imagej": ".zip",
    "qupath": ".geojson",
    "geojson": ".geojson",
    "gpkg": ".gpkg",
    "crops": ".zip",
}
FRAMES = "frames"  # a table for each video, whose annotated one is among the overlays
FOLDERS = (*ENDINGS, FRAMES)
OWN_FILES = (
    "results.json",
    "images.json",
    PANOPTIC,
    *TABLES,
    "estimates.csv",
    JOURNAL,  # the last: it tells of the others
)
OWN_ENTRIES = (*OWN_FILES, *FOLDERS)


def files_of_video(video: Picture) -> tuple[str, str]:
    """The names of the table of a video's frames, and of the annotated video."""
    return f"{FRAMES}/{video.stem}.csv", f"overlay/{video.stem}.mp4"


def has_files(out: Path, formats: Sequence[str], done: PictureResults) -> bool:
    """Whether the output folder has a picture's own files of all these formats, as far as there are any.

    A frame has no overlay of its own, and a picture that was read in parts has none either.
    """
    picture, without = done.picture, {*done.without, *(("overlay",) if done.picture.frame is not None else ())}
    own = [name for name in formats if name in ENDINGS and name not in without]
    return all((out / name / f"{picture.stem}{ENDINGS[name]}").is_file() for name in own)


def remove_predictions(out: Path) -> None:
    """Remove the files that the journal of an output folder tells of, and no file that somebody has put beside them.

    A LabelMe file stays that is not as it was written: a person has corrected it.

    Raises:
        InputError: A link leads out of the folder.
    """
    videos = set()
    for done in read_journal(out):
        if done.picture.frame is not None:
            videos.add(done.picture.file)
        for name, ending in ENDINGS.items():
            path = path_inside(out, f"{name}/{done.picture.stem}{ending}")
            check_links(path, out)
            if name != "labelme" or (path.is_file() and fingerprint(path.read_bytes()) == done.labelme):
                path.unlink(missing_ok=True)
    for path in (path_inside(out, name) for video in videos for name in files_of_video(video)):
        check_links(path, out)
        path.unlink(missing_ok=True)
    for name in FOLDERS:
        if (out / name).is_dir() and not (out / name).is_symlink():
            remove_empty_folders(out / name)
    for name in OWN_FILES:
        (out / name).unlink(missing_ok=True)


def remove_unfinished_files(out: Path) -> None:
    """Remove what a process that was killed has left in an output folder."""
    remove_temporary_files(out)
    for folder in FOLDERS:
        if (out / folder).is_symlink():
            continue
        for inside in (out / folder, *(path for path in (out / folder).rglob("*") if path.is_dir())):
            remove_temporary_files(inside)
