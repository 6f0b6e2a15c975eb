"""Reading a whole file, if it is one: a named pipe would be waited for, and a device has no end."""

from pathlib import Path

from segkit.errors import InputError

VIDEO_SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))


def read_file(path: Path, name: str | None = None, most: int | None = None) -> bytes:
    """The bytes of a regular file.

    Args:
        path: The file.
        name: What messages call it; None: its path.
        most: The largest size, in MiB.

    Raises:
        InputError: It is missing, no regular file, too large, or cannot be read.
    """
    name = name or str(path)
    try:
        if not path.is_file():
            if path.is_dir():
                raise InputError(f"{name}: is a folder, not a file")
            if path.exists():
                raise InputError(f"{name}: not a regular file", "save its content into a file, and name that")
        if path.suffix.lower() in VIDEO_SUFFIXES:  # which may fill the memory
            why = f"{name}: is a video, which only predict takes"
            raise InputError(why, f"make pictures of its frames: ffmpeg -i {path.name} frames/%06d.png")
        size = path.stat().st_size
        if not size:  # also the files of /proc, of which some are waited for
            return b""
        if most is not None and size > most << 20:
            raise InputError(f"{name}: has more than {most} MiB, which is too much for a file of this kind")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name}: cannot be read: {reason}") from error
    except MemoryError:
        raise InputError(f"{name}: needs more memory than there is") from None


def head_of(path: Path, size: int) -> bytes:
    """The first bytes of a file; none where it cannot be read, or would be waited for.

    So it is with pipes, devices, and the files of /proc, which have no size.

    Args:
        path: The file.
        size: How many bytes at most.
    """
    try:
        if not path.is_file() or not path.stat().st_size:
            return b""
        with path.open("rb") as file:
            return file.read(size)
    except (OSError, ValueError):
        return b""
