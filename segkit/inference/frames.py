"""The frames of videos as pictures: which there are, and their pixels in whatever order threads ask for them."""

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segkit.config.predict import PredictConfig
from segkit.data.read_file import VIDEO_SUFFIXES
from segkit.data.videos import frame_pixels, look_at_video, video_frames
from segkit.errors import InputError
from segkit.extras import extra_package
from segkit.inference.input_files import Picture
from segkit.progress import Progress


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def check_package(found: Mapping[Path, str], config: PredictConfig, progress: Progress) -> None:
    """Check that videos can be read, where nothing else is to be predicted, and that ``--every`` has an effect.

    Raises:
        InputError: They need a package that is not installed.
    """
    videos = [path for path in found if is_video(path)]
    if videos and len(videos) == len(found):
        extra_package("av", str(videos[0]), "video")
    if not videos and config.every > 1:
        progress.note(f"warning: --every {config.every} is for videos, and there are none")


def with_frames(pictures: Sequence[Picture], every: int, complaints: list[str]) -> Iterator[Picture]:
    """Frames of videos as pictures of their own: ``clip.mp4#000001`` and so on; other pictures as they are.

    A video that cannot be read stays as it is, for whoever loads it to say why.

    Args:
        pictures: Pictures and videos.
        every: So many-th frame, beginning with the first.
        complaints: Receives what is wrong with videos of which some frames are there.
    """
    stems = {picture.stem.casefold() for picture in pictures}
    for picture in pictures:
        if not is_video(picture.path):
            yield picture
            continue
        try:
            video = look_at_video(picture.path)
        except InputError:
            yield picture
            continue
        if video.cut_off is not None:
            complaints.append(f"{picture.path}: {video.cut_off}")
        stem = picture.stem
        while any(name.startswith(f"{stem}#".casefold()) for name in stems):  # a file is called so
            stem += "_frames"
        for number in range(1, len(video.times) + 1, every):
            name, at = f"#{number:06d}", round(video.times[number - 1], 6)
            yield Picture(picture.path, picture.name + name, stem + name, frame=number, time=at)


class Frames:
    """The pixels of frames of videos, each of which is asked for once, about in order, by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Path, _Reader] = {}
        self._wanted: dict[Path, set[int]] = {}

    def expect(self, pictures: Iterable[Picture]) -> None:
        """Say which frames will be asked for.

        Args:
            pictures: Those of them that are frames.
        """
        for picture in pictures:
            if picture.frame is not None:
                self._wanted.setdefault(picture.path, set()).add(picture.frame)

    def pixels(self, picture: Picture) -> npt.NDArray[np.uint8]:
        """A frame as RGB [H, W, 3].

        Raises:
            InputError: It cannot be decoded.
        """
        path, number = picture.path, picture.frame
        assert number is not None
        with self._lock:
            if (reader := self._open.get(path)) is None:
                reader = self._open[path] = _Reader(path, self._wanted.pop(path, {number}))
        frame = reader.take(number)
        if reader.is_done:
            with self._lock:
                self._open.pop(path, None)
        if frame is None:
            raise InputError(f"{picture.name}: cannot be decoded")
        return frame_pixels(frame)


class _Reader:
    """Decodes a video; keeps the frames that another thread has not asked for yet, which are as few as threads."""

    def __init__(self, path: Path, wanted: set[int]) -> None:
        self._path, self._wanted = path, wanted
        self._lock = threading.Lock()
        self._frames: Generator[tuple[int, Any], None, None] | None = None
        self._kept: dict[int, Any] = {}
        self._at = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing is wanted any more."""
        return not self._wanted

    def take(self, number: int) -> Any | None:
        """A frame, for once; None where it cannot be decoded."""
        with self._lock:
            if self._frames is None:
                self._frames = video_frames(self._path, look_at_video(self._path))
            while self._at < number and (found := next(self._frames, None)) is not None:
                self._at = found[0]
                if self._at in self._wanted:
                    self._kept[self._at] = found[1]
            self._wanted.discard(number)
            frame = self._kept.pop(number, None)
            if not self._wanted:
                self._frames.close()
                self._kept.clear()
            return frame
