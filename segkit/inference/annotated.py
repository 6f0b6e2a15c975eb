"""What is written of whole videos, from the journal: the annotated video, and a table with a row for each frame."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.data.files import path_inside, temporary_file
from segkit.data.overlay import Tags, draw_overlay
from segkit.data.videos import VideoWriter, frame_pixels, look_at_video, video_frames
from segkit.errors import InputError
from segkit.inference.input_files import Picture
from segkit.inference.journal import PictureResults, videos_in
from segkit.inference.output_files import files_of_video
from segkit.progress import Progress
from segkit.text import spreadsheet_cell

Frames = Callable[[], Iterator[PictureResults]]


@dataclass(frozen=True, slots=True)
class Style:
    """How overlays, tables and LabelMe files look.

    Attributes:
        tags: What overlays say at each instance.
        line_width: Of contours in overlays; None: by the size of the picture.
        without_cut: Leave instances that the border cuts out of the means in tables.
        tolerance: In pixels, of the polygons in LabelMe files; None: they have masks.
        every: Every so many-th frame of videos is predicted.
    """

    tags: Tags = "auto"
    line_width: int | None = None
    without_cut: bool = False
    tolerance: float | None = None
    every: int = 1


def write_videos(
    out: Path, formats: Sequence[str], names: dict[int, str], style: Style, notes: list[str], progress: Progress
) -> bool:
    """Write the table and, with ``overlay``, the annotated video of each video in the journal.

    Args:
        out: The output folder.
        formats: What is written.
        names: Category names by id.
        style: Of overlays.
        notes: Receives what could not be written.
        progress: Shows how many frames are written.

    Returns:
        Whether there are videos.
    """
    found = False
    for video, frames in videos_in(out):
        found = True
        table, annotated = (path_inside(out, name) for name in files_of_video(video))
        _write_table(table, out, frames, names)
        if "overlay" in formats:
            try:
                _write_video(annotated, out, video, frames, names, style, progress)
            except InputError as error:
                notes.append(f"overlay/{annotated.name}: not written: {error.message}")
    return found


def _write_table(path: Path, out: Path, frames: Frames, names: dict[int, str]) -> None:
    with temporary_file(path, inside=out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        counts = [spreadsheet_cell(f"instances of {name}") for name in names.values()]
        table.writerow(["frame", "seconds", "instances", *counts])
        for done in frames():
            found = Counter(result.category_id for result in done.results)
            row: list[Any] = [done.picture.frame, done.picture.time, len(done.results)]
            table.writerow([*row, *(found[number] for number in names)])


def _write_video(
    path: Path, out: Path, video: Picture, frames: Frames, names: dict[int, str], style: Style, progress: Progress
) -> None:
    """Write the predicted frames of a video with their instances, at the times when they are shown.

    Raises:
        InputError: The video is not there any more, or the package is not.
    """
    looked = look_at_video(video.path)
    decoded = video_frames(video.path, looked)
    progress.start(f"writing {path.name}", -(-len(looked.times) // style.every))
    with temporary_file(path, inside=out) as temporary, closing(decoded):
        writer = None
        number, frame = 0, None
        try:
            for done in frames():
                wanted = done.picture.frame
                assert wanted is not None
                while number < wanted and (found := next(decoded, None)) is not None:
                    number, frame = found
                if number != wanted:
                    continue
                pixels = frame_pixels(frame)
                drawn = draw_overlay(pixels, done.results, names, style.tags, style.line_width, of_video=True)
                if writer is None:
                    (height, width), rate = drawn.shape[:2], looked.rate / style.every
                    writer = VideoWriter(temporary, height, width, rate, even=looked.is_even)
                writer.add(drawn, (wanted - 1) // style.every, done.picture.time or 0.0)
                progress.advance(1)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise InputError(f"{video.path}: none of its frames can be decoded")
    progress.done()
