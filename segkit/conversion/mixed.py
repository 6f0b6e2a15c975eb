"""Sources with annotations in several formats: which of them is meant, only the user knows.

They may be one dataset that was exported twice, so that reading all would double every object, or two datasets, so that
reading one would lose the other.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from segkit.conversion.json_kinds import annotation_kind
from segkit.data.files import walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES, opened
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.cvat import is_cvat
from segkit.formats.label_images.pairs import LOSSY, find_pairs
from segkit.formats.label_images.voc import CLASSES, OBJECTS, is_voc_file
from segkit.formats.yolo.files import is_label_file
from segkit.units import counted

Files = Sequence[tuple[Path, str]]
FOUND_IN_JSON = ("labelme", "coco", "panoptic", "via", "labelstudio", "isat")
_NAMES = {
    "labelme": "LabelMe", "coco": "COCO", "panoptic": "COCO panoptic", "via": "VIA", "labelstudio": "Label Studio",
    "isat": "ISAT", "cvat": "CVAT", "yolo": "YOLO", "voc": "VOC",
}  # fmt: skip
_DEPTH = 3  # folders of VOC and one of their own
_EACH, _SOME, _MOST = 2, 20, 2000  # files that are looked at: in each folder, of all, to count them


def kinds_of(files: Files) -> dict[str, list[str]]:
    """The formats of JSON files that hold annotations, each with the names of its files.

    A sample is looked at, from every folder; all files only where these have several formats.

    Args:
        files: The JSON files, each with its name in reports.
    """
    by_folder: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for pair in files:
        by_folder[pair[1].rpartition("/")[0]].append(pair)
    sample = [pair for some in islice(by_folder.values(), _MOST // _EACH) for pair in some[:_EACH]]
    sample += files[:: max(1, len(files) // _SOME)]
    found = _kinds(dict.fromkeys(sample))
    if "coco" in found:
        found.pop("panoptic", None)  # COCO's own folder of annotations has both, its reader says so
    return found if len(found) < 2 else _kinds(files[:_MOST])


def _kinds(files: Files | dict[tuple[Path, str], None]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path, name in files:
        if (kind := annotation_kind(path)) is not None:
            found[kind].append(name)
    return {kind: found[kind] for kind in FOUND_IN_JSON if kind in found}


def the_one_format(
    src: str, root: Path | None, json_files: dict[str, list[str]], skip: Path | None, passed_over: Sequence[str] = ()
) -> tuple[str | None, tuple[Finding, ...]]:
    """The format of the annotations in a source; None: it has none, or masks alone. Several are refused.

    Masks beside other annotations are noted: tools derive them from these.

    Args:
        src: What the user named.
        root: The folder; None: the files were named one by one.
        json_files: The JSON files, by format.
        skip: A folder to leave out.
        passed_over: Folders in it that are no part of the source.

    Raises:
        InputError: There are several; it says how many files each has.
    """
    found = dict(json_files)
    is_folder = root is not None and root.is_dir()
    if root is not None and is_folder:
        found |= _other_files(root, skip, [root / name for name in passed_over])
    if "coco" in found:
        found.pop("panoptic", None)
    if len(found) > 1:
        said = ", ".join(f"{_NAMES[kind]} ({_shown(names)})" for kind, names in found.items())
        *first, last = (f"--from {kind}" for kind in found)
        hint = f"{', '.join(first)} or {last} says which to read; two datasets: convert each of them"
        raise InputError(f"{src}: has annotations in {len(found)} formats: {said}", hint)
    kind = next(iter(found), None)
    if root is None or not is_folder or kind in (None, "voc"):
        return kind, ()
    pairs = [pair for pair in find_pairs(root, skip) if not pair.key.startswith(tuple(f"{n}/" for n in passed_over))]
    masks = sum(pair.mask is not None and pair.is_whole and _is_mask(pair.mask) for pair in pairs)
    there = counted(masks, "picture has a mask", "pictures have masks")
    why = f"{there}, too: --from semantic or --from idmask reads these alone"
    return kind, (Finding(root.name, "noted", why, shapes=0),) if masks else ()


def _is_mask(path: Path) -> bool:
    """Whether a file has one number for each pixel; copies of the pictures have colours."""
    try:
        with opened(path, path.name) as picture:
            return picture.mode in ("1", "L", "P", "I", "I;16") and path.suffix.lower() not in LOSSY
    except InputError:
        return False


def _shown(names: list[str]) -> str:
    count = f"{len(names)} files, such as " if len(names) > 1 else ""
    return f"{count}{names[0]}"


def _other_files(root: Path, skip: Path | None, passed_over: Sequence[Path]) -> dict[str, list[str]]:
    """Files of annotations that are no JSON, by format: CVAT's and VOC's XML, labels of YOLO."""
    kinds: dict[str, list[str]] = defaultdict(list)
    stems: set[str] = set()
    texts: list[tuple[Path, list[str]]] = []
    for folder, names in walk_folders(root, skip):
        if any(folder.is_relative_to(other) for other in passed_over):
            continue
        by_suffix: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            by_suffix[Path(name).suffix.lower()].append(name)
        stems |= {Path(name).stem for suffix in by_suffix.keys() & PICTURE_SUFFIXES for name in by_suffix[suffix]}
        if by_suffix[".txt"]:
            texts.append((folder, by_suffix[".txt"]))
        near = len(folder.relative_to(root).parts) <= _DEPTH
        if folder.name in (*OBJECTS, *CLASSES) and near and not by_suffix[".json"]:
            there = {path.stem for path in (folder.parent / "JPEGImages").glob("*")}
            kinds["voc"] += [_below(root, folder / name) for name in by_suffix[".png"] if Path(name).stem in there]
        if xml := by_suffix[".xml"]:
            kind = "cvat" if is_cvat(folder / xml[0]) else "voc" if near and is_voc_file(folder / xml[0]) else None
            kinds[kind or ""] += [_below(root, folder / name) for name in xml]
    for folder, names in texts:  # pictures of labels may be in a later folder
        labels = [name for name in names if Path(name).stem in stems]
        if any(is_label_file(folder / name) for name in labels[:_SOME]):
            kinds["yolo"] += [_below(root, folder / name) for name in labels]
    return {kind: kinds[kind] for kind in ("cvat", "yolo", "voc") if kinds.get(kind)}


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
