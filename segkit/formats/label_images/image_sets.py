"""The splits of a VOC folder: the lists in ``ImageSets``, an image name on each line."""

from collections.abc import Sequence
from pathlib import Path

from segkit.data.records import Finding
from segkit.formats.split_lists import SplitLists, read_list
from segkit.formats.splits import split_of_name

_KINDS = ("Segmentation", "Main", "")  # the first that names an image counts; lists may be in ImageSets itself


def read_image_sets(folder: Path, stems: Sequence[str]) -> tuple[dict[str, tuple[str, str]], list[Finding]]:
    """The split of each image that a list names, and which list; and findings.

    Lists are files such as ``train.txt``; others (``trainval.txt``, ``cat_train.txt``, ``default.txt``) are no splits.

    Args:
        folder: The folder that has ``ImageSets``.
        stems: The names of its images without their endings.
    """
    splits: dict[str, tuple[str, str]] = {}
    findings: list[Finding] = []
    for kind in _KINDS:
        lists = SplitLists([stem for stem in stems if stem not in splits])
        for path in sorted((folder / "ImageSets" / kind).glob("*.txt")):
            if (named := split_of_name(path.stem)) and named.exact:
                lists.add_lines(named.split, path.relative_to(folder).as_posix(), read_list(path))
        found, more = lists.results()
        findings += more if not splits else [row for row in more if row.action != "noted"]
        splits |= found
    return splits, findings
