"""Files: which ones a command's SRC means, a relative path, and writing one through a temporary file."""

import errno
import hashlib
import os
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from segkit.errors import InputError

_OF_KERNEL = (("proc",), ("sys",))  # folders of Linux
_FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))


def path_inside(folder: Path, name: str) -> Path:
    """The path of a file that is written into a folder.

    Args:
        folder: The output folder.
        name: The file's path relative to it; parts of it may come from names that the user's files have.

    Raises:
        InputError: The name leads out of the folder, where it could replace a file of the user.
    """
    below = os.path.normpath(name)  # by the text alone: links are not followed
    if Path(name).is_absolute() or below in (os.curdir, os.pardir) or below.startswith(os.pardir + os.sep):
        raise InputError(f"{name}: leads out of {folder}, where nothing is written", "rename the file, or move it")
    return folder / name


def check_links(path: Path, folder: Path) -> None:
    """Check that no link below an output folder leads out of it; the folder itself may be a link.

    Args:
        path: A file below the folder; it is replaced and not followed if it is a link itself.
        folder: The output folder.

    Raises:
        InputError: One does.
    """
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        below = [path.parent, *path.parent.parents]
        link = next((each for each in below if each.is_symlink() and each != folder), path.parent)
        raise InputError(
            f"{link}: is a link that leads out of {folder}, where nothing is written",
            "remove the link, or choose another --out",
        )


@contextmanager
def named_when_full(path: Path) -> Iterator[None]:
    """Name a file or a folder in the error of a disk that is full while the block writes it.

    The system names none, or that which is copied.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            error.filename = str(path)
        raise


@contextmanager
def temporary_file(
    path: Path, *, shared: bool = False, flush: bool = False, inside: Path | None = None
) -> Iterator[Path]:
    """A temporary file in the folder of ``path``, which replaces ``path`` when the block ends.

    If the block or the replacement fails, the temporary file is removed and ``path`` stays as it was. Whoever opens
    ``path`` finds the old file or the new one, never a part of one.

    Args:
        path: The file to write.
        shared: Whether other processes may write the same file now: then each has a temporary file of its own.
        flush: Wait until the file and its name are on the disk, so that a power cut does not lose them.
        inside: An output folder: folders between it and the file are made, and a path that leaves it is refused.

    Yields:
        The temporary file's path; the block creates the file.

    Raises:
        InputError: The path leads out of the folder ``inside``, by its name or by a link.
    """
    if inside is not None:
        path = path_inside(inside, os.path.relpath(path, inside))
        check_links(path, inside)
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing{f'-{os.getpid()}' if shared else ''}")
    try:
        if temporary.is_symlink():  # put there by somebody: what is written would go elsewhere
            temporary.unlink()
        with named_when_full(path):
            yield temporary
            if flush:
                flush_to_disk(temporary)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if flush and os.name == "posix":  # Windows opens no folders, and flushes names by itself
        flush_to_disk(path.parent)


def remove_temporary_files(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder that no other process writes to."""
    for path in folder.glob(".*.writing"):
        remove_left_over(path)


def remove_left_over(path: Path) -> None:
    """Remove a temporary file or folder that a killed process has left, or a link that somebody has put there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """The CRC-32 of a file: tells whether it is the one that it was, not whether somebody meddled with it."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def fingerprint(content: bytes) -> str:
    """Tells whether the content of a file is the one that was written: the first half of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:32]


def remove_empty_folders(folder: Path) -> None:
    """Remove a folder and those in it, as far as no file is in them; links are not followed."""
    for parent, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # it is not empty
            Path(parent).rmdir()


def relative_path(path: Path, folder: Path) -> str:
    """The path of a file relative to a folder, with forward slashes; absolute where they are on different drives."""
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:  # another drive on Windows
        return path.absolute().as_posix()


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for invalid names, and for those of the kernel: reading may never end."""
    try:
        return path.is_file() and path.absolute().parts[1:2] not in _OF_KERNEL
    except (OSError, ValueError):  # a name too long, a folder that may not be looked into
        return False


def find_file(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first file in any of the folders, in their order, that has one of the names."""
    names = list(names)
    return next((path for folder in folders for name in names if is_file(path := folder / name)), None)


def list_files(
    src: str, suffixes: frozenset[str], stdin: Iterable[str], skip: Path | None = None
) -> list[tuple[Path, str]]:
    """The files that ``src`` means, sorted, each with its name relative to where it was found.

    Args:
        src: A folder (searched recursively, hidden folders left out), a file, or ``-``.
        suffixes: Lower-case suffixes of the files in folders.
        stdin: Where ``-`` reads paths, one a line or ended by zeros.
        skip: A folder to leave out: what is written must not be read back.

    Raises:
        InputError: There is no such file or folder.
    """
    if src == "-":
        found: dict[tuple[Path, str], None] = {}
        missing: list[InputError] = []
        for path in _listed(stdin):
            try:
                found |= dict.fromkeys(_below(path, suffixes, skip))
            except InputError as error:
                missing.append(error)
        if missing:
            more = f" (and {len(missing) - 1} more of the list)" if len(missing) > 1 else ""
            raise InputError(f"{missing[0].message}{more}", missing[0].hint)
        return distinct_names(list(found))
    return _below(Path(src), suffixes, skip)


def _listed(lines: Iterable[str]) -> list[Path]:
    """The paths of a list: one a line, also after a byte order mark, or each ended by a 0 (``find -print0``)."""
    whole = [line.removeprefix("\ufeff") if number == 0 else line for number, line in enumerate(lines)]
    if any("\0" in line for line in whole):  # there, a line break is a part of a name
        whole = "".join(whole).split("\0")
        return [Path(each) for each in whole if each.strip()]
    return [Path(line.rstrip("\r\n")) for line in whole if line.strip()]


def distinct_names(found: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Each file once; where names are equal, all are relative to the folder that the files have in common.

    Links and ``..`` on the way to a file are resolved first, so that no name leads out of that folder. The file's own
    name stays, also if it is a link itself.
    """
    folders = {folder: folder.resolve() for folder in {path.parent for path, _ in found}}
    files: dict[Path, tuple[Path, str]] = {}
    for path, name in found:
        files.setdefault(folders[path.parent] / path.name, (path, name))
    once = list(files.values())
    if len({name for _, name in once}) == len(once):
        return once
    try:
        common = os.path.commonpath([place.parent for place in files])
    except ValueError:  # several drives on Windows
        return [(path, place.relative_to(place.anchor).as_posix()) for place, (path, _) in files.items()]
    return [(path, place.relative_to(common).as_posix()) for place, (path, _) in files.items()]


def _is_special(path: Path) -> bool:
    """Whether it is there, and neither a file nor a folder: a named pipe, a device, a socket."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a link to nothing, which its reader reports
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _below(path: Path, suffixes: frozenset[str], skip: Path | None) -> list[tuple[Path, str]]:
    if path.is_file():
        return [(path, path.name)]
    if not path.is_dir():
        what = "neither a file nor a folder" if path.exists() else "no such file or folder"
        raise InputError(f"{path}: {what}")
    check_listable(path)
    found = []
    for folder, names in walk_folders(path, skip):
        chosen = [name for name in names if Path(name).suffix.lower() in suffixes]
        prefix = "" if folder == path else folder.relative_to(path).as_posix() + "/"
        found += [(folder / name, prefix + name) for name in chosen if not _is_special(folder / name)]
    return sorted(found, key=lambda pair: pair[1])


_unreadable: ContextVar[dict[Path, str] | None] = ContextVar("_unreadable", default=None)


@contextmanager
def unreadable_folders() -> Iterator[dict[Path, str]]:
    """Gather the folders that ``walk_folders`` cannot list in the block, each with the reason."""
    found: dict[Path, str] = {}
    token = _unreadable.set(found)
    try:
        yield found
    finally:
        _unreadable.reset(token)


def _pass_over(error: OSError) -> None:
    if (found := _unreadable.get()) is not None and error.filename is not None:
        found[Path(error.filename)] = error.strerror or str(error)


def check_listable(folder: Path) -> None:
    """Check that the names in a folder can be read.

    Raises:
        InputError: They cannot.
    """
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}", "ask for access, or copy the folder") from error


def walk_folders(root: Path, skip: Path | None = None) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all below it, in the order of their names, each with the names of its files.

    Hidden folders and files are left out. Links to folders are followed, but not in circles. What cannot be listed is
    passed over, and ``unreadable_folders`` tells of it.

    Args:
        root: The folder.
        skip: A folder to leave out: what is written must not be read back.
    """
    skipped = skip.resolve() if skip is not None else None
    above = {root.resolve(), *root.resolve().parents}
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(root, onerror=_pass_over, followlinks=True):  # Path.walk needs Python 3.12
        folder = Path(parent)
        try:
            where = folder.stat()
        except OSError as error:  # it was removed meanwhile
            _pass_over(error)
            folders.clear()
            continue
        if (where.st_dev, where.st_ino) in seen:
            folders.clear()
            continue
        seen.add((where.st_dev, where.st_ino))
        inside = [name for name in folders if not name.startswith(".")]
        links = {name: (folder / name).resolve() for name in inside if (folder / name).is_symlink()}
        folders[:] = sorted(
            name
            for name in inside
            if links.get(name) not in above and links.get(name, folder.resolve() / name) != skipped
        )
        yield folder, sorted(name for name in names if not name.startswith("."))
