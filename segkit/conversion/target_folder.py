"""Writing a dataset folder: first a temporary folder, whose entries are moved in when all are written."""

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from segkit.data.files import named_when_full, walk_folders
from segkit.data.locks import only_writer
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.errors import InputError
from segkit.runtime.signals import ASKING, signal_handlers

_OWN_ENTRIES = (
    "train.json", "val.json", "test.json", "labels.txt", "report.json", "images", "labels", "masks", "data.yaml",
    "train", "val", "test", "trainannot", "valannot", "testannot", "classes.txt", "instances.csv",
    "JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject", "ImageSets", "class_names.txt",
    "panoptic_train.json", "panoptic_val.json", "panoptic_test.json", "panoptic_train", "panoptic_val", "panoptic_test",
)  # fmt: skip
_MARK = "report.json"  # a folder that has one was made by convert


def check_target(out: Path, force: bool) -> None:
    """Refuse a target folder where files of the user would be lost.

    Raises:
        InputError: It holds a dataset and ``force`` is off, or files that segkit did not make.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file", "choose another folder with --out")
    if (out / _MARK).is_file():
        if not force:
            raise InputError(f"{out}: holds a dataset", "replace it with --force, or choose another --out")
    elif entries := [entry for entry in _OWN_ENTRIES if (out / entry).exists()]:
        raise _not_ours(out, entries)


def check_source_apart(src: str, out: Path) -> None:
    """Refuse a target folder that is a part of the source: what is in it would not be read.

    Args:
        src: The folder of annotations, a file, or ``-``.
        out: The target folder; that of an earlier dataset is left out of its source on purpose.

    Raises:
        InputError: It has files of the source.
    """
    root = Path(src)
    if src == "-" or not root.is_dir() or not out.is_dir() or (out / _MARK).is_file():
        return
    if out.resolve() == root.resolve() or not out.resolve().is_relative_to(root.resolve()):
        return
    read = {".json", ".xml", ".csv", ".txt", ".yaml", ".yml", *PICTURE_SUFFIXES}
    names = (name for _, some in walk_folders(out) for name in some if Path(name).suffix.lower() in read)
    if (name := next(names, None)) is not None:
        raise InputError(
            f"{out}: is a folder of {src} with files, such as {name}: the target folder is not read",
            "choose another --out",
        )


def _not_ours(out: Path, entries: Sequence[str]) -> InputError:
    more = f" and {len(entries) - 5} more" if len(entries) > 5 else ""
    return InputError(f"{out}: has {', '.join(entries[:5])}{more} that segkit did not make", "choose another --out")


@contextmanager
def temporary_folder(out: Path, work: str, force: bool) -> Iterator[Path]:
    """A temporary folder, whose entries are moved into ``out`` at the end, or deleted if anything fails.

    The entries that ``report.json`` of an earlier dataset in ``out`` lists are replaced; others are not touched.

    Args:
        out: The final folder.
        work: An entry that is not moved.
        force: Whether an earlier dataset may be replaced.

    Raises:
        InputError: Another conversion is writing there, an entry would replace one that segkit did not make, or the
            folder cannot be written to.
    """
    shown, out = out, out.resolve() if out.is_symlink() else out.absolute()
    temporary = out.parent / f".{out.name}.writing"
    made = [parent for parent in (out.parent, *out.parent.parents) if not parent.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(out), _empty_folder(temporary):
            _recover(out)
            check_target(shown, force)  # again: another conversion may just have ended
            with named_when_full(shown):
                yield temporary
            _move_in(temporary, out, shown, temporary / work)
    except PermissionError as error:
        raise InputError(f"{shown}: no permission to write there", "choose another --out") from error
    finally:
        for parent in made:
            with suppress(OSError):  # only where nothing came of it are they empty
                parent.rmdir()


@contextmanager
def _empty_folder(temporary: Path) -> Iterator[None]:
    """A folder for the length of a block; what conversions that were killed have left there is deleted."""
    try:  # around the first step: Ctrl-C may come right after it
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_in(temporary: Path, out: Path, shown: Path, work: Path) -> None:
    """Move what is new to the final folder, and delete what it replaces."""
    before = _entries_of(out)
    new = sorted(entry.name for entry in temporary.iterdir() if entry.name != work.name)
    if foreign := [entry for entry in new if entry not in before and (out / entry).exists()]:
        raise _not_ours(shown, foreign)
    # Not to be interrupted between the first entry that is moved and the last: it takes moments.
    with signal_handlers(dict.fromkeys(ASKING, signal.SIG_IGN)):
        if not out.exists():
            shutil.rmtree(work)
            temporary.rename(out)  # at once: not even a kill leaves a part of the dataset
        elif not (_is_all_ours(out, before) and _swap(temporary, out, work)):
            for entry in sorted({*before, *new}, key=lambda name: (name == _MARK, name)):
                _replace(temporary / entry, out / entry, work)


def _is_all_ours(out: Path, before: Sequence[str]) -> bool:
    """Whether a folder holds an earlier dataset and nothing else: files of the user are never moved."""
    return bool(before) and all(entry.name in before for entry in out.iterdir())


def _swap(temporary: Path, out: Path, work: Path) -> bool:
    """Put a new folder in the place of an earlier one, by two renames.

    A kill leaves the earlier dataset or the new one, never parts of both: ``_recover`` ends what was begun.

    Returns:
        False where the folder cannot be moved, as it is a mount point or the working folder of this process.
    """
    if Path.cwd().is_relative_to(out):
        return False
    shutil.rmtree(work)
    shutil.copymode(out, temporary)
    try:
        out.rename(_set_aside(out))
    except OSError:
        work.mkdir()
        return False
    try:
        temporary.rename(out)
    except OSError:
        _set_aside(out).rename(out)
        raise
    _recover(out)
    return True


def _set_aside(out: Path) -> Path:
    """Where an earlier dataset is while it is replaced."""
    return out.with_name(f".{out.name}.replaced")


def _recover(out: Path) -> None:
    """End a replacement that a kill has ended between its renames, or that has just been done.

    Without the new folder, the earlier one is put back. With it, the earlier dataset is deleted; what the user may have
    put into that just before is moved over.

    Raises:
        InputError: The user has put other files in the place of those that are to be moved.
    """
    earlier, waste = _set_aside(out), out.with_name(f".{out.name}.deleted")
    if earlier.is_dir() and not out.exists():
        earlier.rename(out)
    elif earlier.is_dir():
        own = _entries_of(earlier)
        users = [entry for entry in earlier.iterdir() if entry.name not in own]
        if taken := [entry.name for entry in users if os.path.lexists(out / entry.name)]:
            raise InputError(
                f"{earlier}: has {', '.join(taken[:5])}, which a conversion that was killed could not put back",
                "move them away, and delete the folder",
            )
        for entry in users:
            entry.rename(out / entry.name)
        earlier.rename(waste)  # what is deleted in part is no dataset that could be put back
    shutil.rmtree(waste, ignore_errors=True)


def replaced_by(out: Path) -> tuple[Path, ...]:
    """What a new dataset in a folder takes the place of: the entries of an earlier one, with links resolved."""
    return tuple((out.resolve() / entry) for entry in _entries_of(out))


def _entries_of(out: Path) -> list[str]:
    """The entries that an earlier conversion made."""
    try:
        entries = msgspec.json.decode((out / _MARK).read_bytes()).get("entries", ())
    except (OSError, msgspec.DecodeError, AttributeError):
        return []
    listed = [
        entry for entry in entries if isinstance(entry, str) and "/" not in entry and entry not in ("", ".", "..")
    ]
    return [entry for entry in listed or _OWN_ENTRIES if (out / entry).exists()]


def _replace(new: Path, old: Path, work: Path) -> None:
    """Move ``new`` to ``old``; if there is no ``new``, delete ``old``."""
    if old.is_dir() and not old.is_symlink():
        old.rename(work / f"{old.name}.old")
    elif not new.exists():
        old.unlink(missing_ok=True)
    if new.exists() or new.is_symlink():
        new.replace(old)
