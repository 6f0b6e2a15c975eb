"""Videos: which frames a file has, reading them one after the other, and writing them (PyAV, the extra ``video``).

Frames are counted from 1 in the order in which they are shown. One is in memory at a time.
"""

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segkit.errors import InputError
from segkit.extras import extra_package

Pixels = npt.NDArray[np.uint8]

_CODECS = ("libx264", "mpeg4")  # the first that there is writes
_LATE = 0.5  # seconds before the end that a file says, from which on it is cut off
_RATE = Fraction(25)  # of a file that says none
_TICKS = 90_000  # a second, where frames do not follow each other evenly


class Video(NamedTuple):
    """What a video file has.

    Attributes:
        times: When each frame is shown, in seconds after the first.
        stamps: The stamp of each frame in the file; None: they have no usable ones, and are counted.
        rate: Frames per second.
        cut_off: Why it is not whole, in words; None: it is.
    """

    times: tuple[float, ...]
    stamps: tuple[int, ...] | None
    rate: Fraction
    cut_off: str | None

    @property
    def is_even(self) -> bool:
        """Whether the frames follow each other evenly, to less than half of one."""
        most = min(0.01, 0.4 / float(self.rate))
        return all(abs(at - place / float(self.rate)) < most for place, at in enumerate(self.times))


def look_at_video(path: Path) -> Video:
    """Find the frames of a video without decoding them.

    Raises:
        InputError: The package is not installed, or the file has no frames, or is none that can be read.
    """
    stamps: list[int | None] = []
    end = 0.0
    with _opened(path) as (container, stream, av):
        rate = stream.average_rate or stream.guessed_rate or _RATE
        claimed, said_end = stream.frames, (container.duration or 0) / 1e6
        broken = False
        start = (container.start_time or 0) / 1e6
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
                if packet.stream is stream and packet.size and not packet.is_discard:
                    stamps.append(packet.pts)
        except av.FFmpegError:
            broken = True
        base = stream.time_base
    count = len(stamps)
    if not count:
        raise InputError(f"{path}: a video without frames", "replace or remove it")
    cut_off = None
    if claimed > count:
        cut_off = f"is cut off: {count} of its {claimed} frames are there"
    elif broken or (not claimed and said_end - end > _LATE):
        cut_off = f"is cut off after {end:.1f} s" + (f" of {said_end:.1f} s" if said_end > end else "")
    known = sorted({stamp for stamp in stamps if stamp is not None})
    if len(known) < count or base is None:
        return Video(tuple(float(place / rate) for place in range(count)), None, rate, cut_off)
    return Video(tuple(float((stamp - known[0]) * base) for stamp in known), tuple(known), rate, cut_off)


def video_frames(path: Path, video: Video) -> Generator[tuple[int, Any], None, None]:
    """Decode a video from its beginning on.

    Args:
        path: The file.
        video: What was found in it.

    Yields:
        Frames that can be decoded, as PyAV gives them, each with its number.

    Raises:
        InputError: The file cannot be read any more.
    """
    with _opened(path) as (container, stream, av):
        stream.thread_type = "AUTO"
        count = 0
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:  # what it had is missing
                    continue
                for frame in frames:
                    count += 1
                    number = count if video.stamps is None else _place(video.stamps, frame.pts)
                    if number is not None and not frame.is_corrupt:
                        yield number, frame
        except av.FFmpegError:  # a file that is cut off
            return


def _place(stamps: Sequence[int], stamp: int | None) -> int | None:
    place = len(stamps) if stamp is None else bisect_left(stamps, stamp)
    return place + 1 if place < len(stamps) and stamps[place] == stamp else None


def frame_pixels(frame: Any) -> Pixels:
    """A decoded frame as RGB [H, W, 3], turned as the file says: phones store portraits lying on their side."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """A video file, its stream of pictures, and the package.

    Raises:
        InputError: The package is not installed, or the file cannot be read, or has no pictures.
    """
    av = extra_package("av", str(path), "video")
    try:
        if not path.stat().st_size:
            raise InputError(f"{path}: an empty file (0 bytes)", "replace or remove it")
        container = av.open(str(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such video") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it") from None
    except (av.FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as a video: {why}", "open it in a player; replace it") from error
    with container:
        cover = av.stream.Disposition.attached_pic  # a picture beside music
        stream = next((each for each in container.streams.video if not each.disposition & cover), None)
        if stream is None:
            raise InputError(f"{path}: a video without frames", "replace or remove it")
        yield container, stream, av


class VideoWriter:
    """Writes frames into an MP4 file, as H.264 where the package has it; x264 may choose other bytes the next time."""

    def __init__(self, path: Path, height: int, width: int, rate: Fraction, *, even: bool) -> None:
        """Begin a file.

        Args:
            path: The file.
            height: Of the frames.
            width: Likewise.
            rate: Frames per second.
            even: Whether frames follow each other evenly; else each comes at its own time.
        """
        av = extra_package("av", str(path), "video")
        name = next(each for each in _CODECS if each in av.codecs_available)
        self._av, self._even = av, even
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream(name, rate=rate)
        self._stream.height, self._stream.width = height, width
        # Colours at half the resolution need even sides; other sides take a kind that fewer players know.
        self._stream.pix_fmt = "yuv420p" if height % 2 == 0 == width % 2 or name == "mpeg4" else "yuv444p"
        self._stream.options = {"crf": "20", "preset": "veryfast"} if name == "libx264" else {"q": "4"}
        self._base = 1 / rate if even else Fraction(1, _TICKS)
        self._stream.codec_context.time_base = self._base
        self._last = -1

    def add(self, pixels: Pixels, place: int, at: float) -> None:
        """Write a frame.

        Args:
            pixels: RGB [H, W, 3].
            place: Which frame of the file it is, from 0.
            at: When it is shown, in seconds.
        """
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._last = max(self._last + 1, place if self._even else round(at * _TICKS))
        frame.pts, frame.time_base = self._last, self._base
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """End the file."""
        self._container.mux(self._stream.encode())
        self._container.close()
