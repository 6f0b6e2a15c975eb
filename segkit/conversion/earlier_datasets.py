"""Datasets that segkit wrote into folders of the source: they are copies of what is there."""

from pathlib import Path

from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.json_file import read_json

Files = list[tuple[Path, str]]


def without_earlier_datasets(files: Files) -> tuple[Files, tuple[Finding, ...]]:
    """The files without reports of segkit, and without the datasets beside these; a finding for each of them.

    A dataset in a folder of the source has the images of the source a second time, and splits of its own. Where there
    are no other files, the datasets are the source.
    """
    reports = {name for path, name in files if _is_report(path)}
    files = [(path, name) for path, name in files if name not in reports]
    folders = {name.rpartition("/")[0] for name in reports} - {""}
    kept = [pair for pair in files if not any(pair[1].startswith(f"{folder}/") for folder in folders)]
    if not kept:
        return files, ()
    why = "a dataset that segkit wrote: it is passed over; to convert it, name it"
    return kept, tuple(Finding(folder, "noted", why, shapes=0) for folder in sorted(folders))


def _is_report(path: Path) -> bool:
    """Whether a file is the ``report.json`` of an earlier conversion."""
    if path.name != "report.json":
        return False
    try:
        top = read_json(path)
    except InputError:
        return False
    return isinstance(top, dict) and "findings" in top
