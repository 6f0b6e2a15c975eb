"""Messages for a SRC that is nothing to convert: what it is, and what to do."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from segkit.conversion.json_kinds import unread_kind
from segkit.data.files import walk_folders
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.errors import InputError

_ARCHIVES = {
    ".zip": "a ZIP", ".tar": "a TAR archive", ".tgz": "a TAR archive", ".gz": "a GZIP archive", ".7z": "a 7z archive",
    ".rar": "a RAR archive", ".bz2": "a BZ2 archive", ".xz": "an XZ archive", ".zst": "a Zstandard archive",
}  # fmt: skip
_FILES = {
    ".txt": ("a text file", "YOLO labels are read as a folder: name the folder with images and labels, or data.yaml"),
    ".npy": ("a NumPy file", "save masks as PNG or TIFF (Cellpose: save masks as PNG/TIFF, not _seg.npy)"),
    ".npz": ("a NumPy file", "save masks as PNG or TIFF"),
    ".mat": ("a MATLAB file", "save masks as PNG: imwrite(uint16(mask), 'a.png')"),
    ".h5": ("an HDF5 file", "save masks as PNG or TIFF"),
    ".hdf5": ("an HDF5 file", "save masks as PNG or TIFF"),
    ".pkl": ("a pickle", "segkit opens none, as they can run programs; export JSON or masks"),
    ".parquet": ("a Parquet file", "export COCO JSON or masks"),
    ".ndjson": ("a file of JSON lines, such as Labelbox's", "export COCO JSON or masks"),
    ".jsonl": ("a file of JSON lines", "export COCO JSON or masks"),
    ".tfrecord": ("a TFRecord file", "export COCO JSON or masks"),
    ".roi": ("an ImageJ region", "save label images (Fiji: Plugins > LOCI, or MorphoLibJ)"),
    ".geojson": ("a GeoJSON file, such as QuPath's", "export label images from QuPath"),
    ".html": ("a web page", "name the folder of annotations"),
    ".pt": ("a PyTorch file", "segkit predict and eval take models; convert takes annotations"),
    ".onnx": ("a model", "segkit predict and eval take models; convert takes annotations"),
}
_MOST_FILES = 20_000
_OTHERWISE = "name the folder that holds the annotations; files of annotations must name images"


class NothingFound(InputError):
    """SRC has nothing to convert; ``what_it_is`` says whether a format is known by name."""

    what_it_is = False


def check_file(path: Path) -> None:
    """Refuse a file that is no annotation file of any format, by its name.

    Raises:
        InputError: It is one.
    """
    suffix = path.suffix.lower()
    if (what := _ARCHIVES.get(suffix)) is not None:
        raise InputError(f"{path}: {what}: unpack it first", "then name the folder")
    if suffix in PICTURE_SUFFIXES:
        raise InputError(f"{path}: a picture: it has no annotations", "name the folder that holds its annotations")
    if suffix in _FILES:
        what, hint = _FILES[suffix]
        raise InputError(f"{path}: {what}, which convert does not read", hint)


def nothing_found(src: str, files: Sequence[tuple[Path, str]] = ()) -> NothingFound:
    """The error for a SRC without anything to convert: what was seen in it.

    Args:
        src: What the user named.
        files: The JSON files in it.
    """
    for path, name in files[:20]:
        if known := unread_kind(path):
            error = NothingFound(f"{src}: nothing to convert: {name} is {known[0]}, which is not read", known[1])
            error.what_it_is = True
            return error
    root = Path(src)
    if not root.is_dir():
        what = "standard input names no annotation file" if src == "-" else "it names no image"
        return NothingFound(f"{src}: nothing to convert: {what}", "name a folder of annotations, or an annotation file")
    counts: Counter[str] = Counter()
    for name in islice((name for _, names in walk_folders(root) for name in names), _MOST_FILES):
        counts[Path(name).suffix.lower() or "no suffix"] += 1
    if not counts:
        return NothingFound(f"{src}: nothing to convert: it has no files", "name the folder that holds the annotations")
    seen = ", ".join(f"{number} {suffix}" for suffix, number in counts.most_common(6))
    more = f" and {len(counts) - 6} other suffixes" if len(counts) > 6 else ""
    return NothingFound(f"{src}: nothing to convert: it has {seen}{more}", _hint(counts))


def _hint(counts: Counter[str]) -> str:
    """What could be done with files of these suffixes."""
    if suffix := next((suffix for suffix in counts if suffix in _ARCHIVES), None):
        return f"unpack the {suffix} files first"
    if ".xml" in counts:
        return "XML: --from cvat for CVAT's, --from voc for a folder with Annotations and JPEGImages"
    if ".txt" in counts or ".yaml" in counts:
        return "text files: --from yolo needs images/a.jpg and labels/a.txt"
    if ".csv" in counts:
        return "a table of pictures and masks: segkit convert TABLE.csv"
    if all(suffix in PICTURE_SUFFIXES for suffix in counts):
        return (
            "pictures only: name the folder of their annotations; masks are found in folders such as images and masks"
        )
    known = next((_FILES[suffix] for suffix in counts if suffix in _FILES), None)
    return f"{known[0]}: {known[1]}" if known else _OTHERWISE
