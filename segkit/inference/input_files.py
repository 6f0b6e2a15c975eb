"""The picture files that ``predict`` reads: their own names, and unique names for what is written about each."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from segkit.data.files import distinct_names, list_files
from segkit.data.pictures import PICTURE_SUFFIXES, read_header
from segkit.data.read_file import VIDEO_SUFFIXES
from segkit.errors import InputError
from segkit.runs.find import is_run
from segkit.runtimes.files import SUFFIXES

_OF_PAGES = frozenset((".tif", ".tiff", ".gif", ".webp", ".png"))
_LONGEST = 220  # bytes of a stem: file systems allow names of 255, and temporary names are longer


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to predict.

    Attributes:
        path: The file.
        name: Its path relative to the source: what results, tables and ``--json`` call it.
        stem: What its overlay, masks and LabelMe file are named after; unlike the name's, unique among all pictures.
        page: Of the file, from 1, where each page is a picture; None: the file is one.
        frame: Of a video, from 1; None: it is none.
        time: When the frame is shown, in seconds after the first.
    """

    path: Path
    name: str
    stem: str
    page: int | None = None
    frame: int | None = None
    time: float | None = None

    @property
    def file(self) -> "Picture":
        """The file of a page or of a frame as one picture."""
        return self if self.page is self.frame is None else Picture(self.path, _of_file(self.name), _of_file(self.stem))


def find_pictures(
    sources: Sequence[str], out: Path | None, stdin: Iterable[str], *, may_be_none: bool = False, videos: bool = False
) -> dict[Path, str]:
    """Picture files in a stable order, with their names relative to the source.

    Args:
        sources: Files, folders, globs, or ``-``.
        out: The folder of the predictions, which is not searched; None: there is none.
        stdin: Where ``-`` reads paths.
        may_be_none: Whether it is no error that there are none.
        videos: Whether videos are found in folders, too.

    Raises:
        InputError: There are none, a source does not exist, or it is a model.
    """
    found: list[tuple[Path, str]] = []
    suffixes = PICTURE_SUFFIXES | VIDEO_SUFFIXES if videos else PICTURE_SUFFIXES
    for source in sources:
        is_pattern = glob.has_magic(source) and not os.path.lexists(source)  # a[1].png may be a file's name
        matches = sorted(glob.glob(source, recursive=True)) if is_pattern else []  # noqa: PTH207
        for each in matches or [source]:
            if _is_model(Path(each)):  # which would be passed over, and of a run its plots would be predicted
                raise InputError(f"{each}: a model, and no picture", f"--model {each} predicts with it")
            found += list_files(each, suffixes, stdin, skip=out)
    if not found and not may_be_none:
        names = " ".join(sources)
        raise InputError(f"{names}: no pictures there", f"known are {' '.join(sorted(suffixes))}")
    return dict(distinct_names(found))


def _is_model(path: Path) -> bool:
    """Whether a source is a run, a checkpoint or an exported file; an XML file may also be somebody's annotations."""
    return is_run(path) or (path.is_file() and path.suffix in {".pt", *SUFFIXES.values()} - {".xml"})


def name_pictures(found: Mapping[Path, str], known: Sequence[Picture] = ()) -> list[Picture]:
    """The pictures to predict, each with a name and a stem that no other has.

    Args:
        found: Names by path.
        known: Pictures of an earlier call, which keep theirs.
    """
    before = {_place(picture.path): picture.file for picture in known}
    names, stems = {picture.name for picture in known}, {picture.stem.casefold() for picture in known}
    pictures = []
    for path, own_name in found.items():
        if (picture := before.get(_place(path))) is None:
            name = next(name for name in _with_more_folders(path, own_name) if name not in names)
            # Some file systems fold case.
            stem = next(stem for stem in _numbered(_shortened(stem_of(name))) if stem.casefold() not in stems)
            picture = Picture(path, name, stem)
            names.add(name)
            stems.add(stem.casefold())
        pictures.append(picture)
    return pictures


def with_pages(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """Each page of files that have several (TIFF, GIF, WebP) as a picture: ``stack.tif#1``, ``stack.tif#2``."""
    stems = {picture.stem.casefold() for picture in pictures}
    for picture in pictures:
        pages = 1
        if picture.path.suffix.lower() in _OF_PAGES and picture.frame is None:
            with suppress(InputError):  # said where it is loaded
                pages = read_header(picture.path).frames
        if pages == 1:
            yield picture
        stem = picture.stem
        while any(f"{stem}#{page}".casefold() in stems for page in range(1, pages + 1)):  # a file is called so
            stem += "_pages"
        for page in range(1, pages + 1) if pages > 1 else ():
            yield Picture(picture.path, f"{picture.name}#{page}", f"{stem}#{page}", page)


def _of_file(text: str) -> str:
    return text.rpartition("#")[0]


def stem_of(name: str) -> str:
    """A file's name without its suffix; a name that is all suffix stays."""
    folder, slash, own = name.rpartition("/")
    return folder + slash + (own.rpartition(".")[0] or own)


def _shortened(stem: str) -> str:
    """A stem that leaves room for endings in a file's name."""
    folder, slash, own = stem.rpartition("/")
    if len(os.fsencode(own)) > _LONGEST:
        own = os.fsencode(own)[:_LONGEST].decode(errors="ignore")  # not half a letter
    return folder + slash + own


def _place(path: Path) -> Path:
    """Where a file is, whatever links lead to its folder; the file may be a link itself, to a picture of many names."""
    return path.parent.resolve() / path.name


def _with_more_folders(path: Path, name: str) -> Iterator[str]:
    """The name of a file, and then with ever more of the folders that it is in."""
    place = _place(path)
    return chain([name], ("/".join(place.parts[-parts:]) for parts in range(name.count("/") + 2, len(place.parts))))


def _numbered(stem: str) -> Iterator[str]:
    return chain([stem], (f"{stem}_{number}" for number in count(2)))
