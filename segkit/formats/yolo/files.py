"""The files of a YOLO folder: which label file belongs to which picture.

The labels of ``images/train/a.jpg`` are in ``labels/train/a.txt``, those of ``train/images/a.jpg`` in
``train/labels/a.txt``, or in the folder of the picture. Capital letters do not matter in folders and endings.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path, PurePosixPath

from segkit.data.files import list_files, walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.text import read_lines
from segkit.formats.yolo.labels import is_label_line
from segkit.units import counted

_LABEL_FOLDERS = ("labels", "label")
_RARE_FOLDERS = ("txt", "txts", "annotations", "annotation", "ann", "anns", "yolo")
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos")
_ANY_CASE = "/"  # no name of a file has it
_TEXT = frozenset({".txt"})
_SAMPLE = 50


@dataclass(frozen=True, slots=True)
class Pairing:
    """The pictures and label files under a folder.

    Attributes:
        images: Pictures by name below the folder, each with its label file; None: it has no instances.
        orphans: Label files without a picture, by name below the folder.
        findings: What is said about them as a whole.
    """

    images: dict[str, tuple[Path, Path | None]] = field(default_factory=dict)
    orphans: dict[str, Path] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def is_label_file(path: Path) -> bool:
    """Whether one of the first lines of a file looks like one of a label file."""
    try:
        lines = read_lines(path)
    except InputError:
        return False
    return any(is_label_line(line) for line in lines[:5])


def has_label_files(root: Path, skip: Path | None = None) -> bool:
    """Whether one of the first text files under a folder is a label file.

    Args:
        root: The folder.
        skip: A folder to leave out.
    """
    paths = (folder / name for folder, names in walk_folders(root, skip) for name in names)
    return any(map(is_label_file, islice((path for path in paths if path.suffix.lower() in _TEXT), _SAMPLE)))


def pair_files(root: Path, images_dir: Path | None, skip: Path | None) -> Pairing:
    """Find the label file of every picture.

    Args:
        root: The folder.
        images_dir: Another folder to look for pictures in.
        skip: A folder to leave out.
    """
    texts = _by_folder(root, skip)
    called = _label_names(texts)
    pairing = Pairing()
    used: Counter[Path] = Counter()
    without: list[tuple[str, Path, list[str]]] = []
    for base in [root, *([images_dir] if images_dir is not None else [])]:
        for path, name in list_files(str(base), PICTURE_SUFFIXES, (), skip=skip):
            folders = _label_folders(PurePosixPath(name).parent, called)
            labels = next(filter(None, (_of_stem(texts.get(folder, {}), path.stem) for folder in folders)), None)
            if labels is None:
                without.append((name, path, folders))
            elif name not in pairing.images:
                pairing.images[name] = (path, labels)
                used[labels] += 1
    _drop_masks(pairing, used, called)
    homes = {_folder(labels, root) for labels in used}
    is_there = cache(partial(_is_folder, root))
    strays = 0
    for name, path, folders in without:
        if homes & {*folders} or any(is_there(folder) for folder in folders[:-1]):
            pairing.images.setdefault(name, (path, None))
        else:
            strays += 1
    for folder, names in texts.items():
        in_labels = any(part in called for part in PurePosixPath(folder).parts)
        for path in {*names.values()}:
            if path not in used and (in_labels or folder in homes) and _may_be_labels(path, empty=in_labels):
                pairing.orphans[path.relative_to(root).as_posix()] = path
    _say(pairing, used, strays)
    return pairing


def _drop_masks(pairing: Pairing, used: Counter[Path], called: Sequence[str]) -> None:
    """Take no picture beside its labels, in a folder of labels, where another picture has them: it is a mask."""
    masks = [
        (name, labels)
        for name, (path, labels) in pairing.images.items()
        if labels is not None
        and used[labels] > 1
        and path.parent == labels.parent
        and path.parent.name.lower() in called
    ]
    for name, labels in masks:
        del pairing.images[name]
        used[labels] -= 1
    if masks:
        why = f"{counted(len(masks), 'picture', 'pictures')} beside labels of other pictures: taken for masks, not read"
        pairing.findings.append(Finding(masks[0][0], "noted", why, shapes=0))


def _by_folder(root: Path, skip: Path | None) -> dict[str, dict[str, Path]]:
    """Text files by folder (in lower case, below the root) and stem."""
    texts: dict[str, dict[str, Path]] = defaultdict(dict)
    for path, name in list_files(str(root), _TEXT, (), skip=skip):
        texts[_lower(PurePosixPath(name).parent)].setdefault(path.stem, path)
    for names in texts.values():
        for stem, path in [*names.items()]:
            names.setdefault(stem.casefold() + _ANY_CASE, path)
    return texts


def _lower(folder: PurePosixPath) -> str:
    return folder.as_posix().casefold()


def _folder(path: Path, root: Path) -> str:
    return _lower(PurePosixPath(path.parent.relative_to(root).as_posix()))


def _of_stem(texts: dict[str, Path], stem: str) -> Path | None:
    return texts.get(stem) or texts.get(stem.casefold() + _ANY_CASE)


def _label_names(texts: Iterable[str]) -> list[str]:
    """How folders of labels are called: ``labels``, else what has the word in it (``labels_yolo``), or ``txt``."""
    parts = {part for folder in texts for part in PurePosixPath(folder).parts}
    others = (part for part in parts if part not in _LABEL_FOLDERS and ("label" in part or part in _RARE_FOLDERS))
    return [*_LABEL_FOLDERS, *sorted(others, key=lambda part: ("label" not in part, part))]


def _label_folders(folder: PurePosixPath, called: Sequence[str]) -> list[str]:
    """Where the labels of the pictures in a folder may be; the folder itself is last.

    Args:
        folder: The folder, relative to the source.
        called: How folders of labels are called.
    """
    parts = [part.casefold() for part in folder.parts]
    found = [
        "/".join([*parts[:index], name, *parts[index + 1 :]])
        for index in range(len(parts) - 1, -1, -1)
        if parts[index] in _IMAGE_FOLDERS
        for name in called
    ]
    if not found:
        found = ["/".join([name, *parts]) for name in called]
        found += ["/".join([*parts, name]) for name in called if parts]
    return [*found, "/".join(parts) or "."]


def _is_folder(root: Path, folder: str) -> bool:
    """Whether there is a folder, whatever the case of its name."""
    here = [root]
    for part in PurePosixPath(folder).parts:
        here = [path for each in here for path in each.iterdir() if path.name.casefold() == part and path.is_dir()]
    return bool(here)


def _may_be_labels(path: Path, *, empty: bool) -> bool:
    """Whether a text file without a picture holds labels: numbers, or nothing."""
    try:
        lines = read_lines(path)
    except InputError:
        return True
    return any(line.lstrip()[:1].isdigit() and len(line.split()) > 3 for line in lines[:20]) if lines else empty


def _say(pairing: Pairing, used: Counter[Path], strays: int) -> None:
    """Say how many pictures have no label file, and which label files have several pictures."""
    negatives = sum(labels is None for _, labels in pairing.images.values())
    if negatives and used:
        why = f"{negatives} of {len(pairing.images)} images have no label file: they are images without instances"
        pairing.findings.append(Finding("labels", "noted", why, shapes=0))
    if strays:
        some = counted(strays, "image has", "images have")
        why = f"{some} no label file, and no folder for labels beside theirs: not read"
        pairing.findings.append(Finding("images", "noted", why, shapes=0))
    for path, count in used.items():
        if count > 1:
            why = f"{count} images have this label file: all of them get its instances"
            pairing.findings.append(Finding(path.name, "noted", why, shapes=0))
