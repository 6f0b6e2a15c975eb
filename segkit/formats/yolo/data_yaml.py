"""``data.yaml`` of a YOLO folder, and the other files that name its categories.

Names come from ``names`` in ``data.yaml``, then in other YAML files, then from ``classes.txt``, ``obj.names`` etc.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segkit.data.files import find_file
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.text import read_text

_MOST = 1 << 20  # characters of a YAML file: the parser takes seconds for more
_PARTS_OF_DATASETS = ("images", "labels", "train", "val", "valid", "test")
_LISTS = ("classes.txt", "obj.names", "data.names", "_darknet.labels", "predefined_classes.txt", "labels.txt")


@dataclass(frozen=True, slots=True)
class DataYaml:
    """What a YOLO folder says about its categories.

    Attributes:
        names: Of the categories, by number.
        keypoints: How many numbers a pose has after its box (``kpt_shape``); 0: none.
        findings: What was wrong with the files.
    """

    names: dict[int, str]
    keypoints: int = 0
    findings: tuple[Finding, ...] = ()


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose values are texts, lists and dicts: ``no`` and ``1.10`` stay as they are written.

    Aliases share one object, so that a file that expands to gigabytes stays small as long as nobody walks through it.

    Raises:
        InputError: It cannot be read, is no YAML, or has something else than keys and values.
    """
    import yaml  # noqa: PLC0415 -- few conversions need it

    text = read_text(path)
    if len(text) > _MOST:
        raise InputError(f"{path.name}: has more than a million characters, which is too much for a data.yaml")
    try:
        top = yaml.load(text, Loader=yaml.BaseLoader)
    except RecursionError:
        raise InputError(f"{path.name}: not valid YAML: nested too deeply") from None
    except (ValueError, yaml.YAMLError) as error:
        what = " ".join(str(error).replace(' in "<unicode string>",', " in").split())[:200]
        raise InputError(f"{path.name}: not valid YAML: {what}") from error
    if not isinstance(top, dict):
        raise InputError(f"{path.name}: not a data.yaml: it needs keys and values, such as names")
    return {str(key)[:100]: value for key, value in top.items() if isinstance(key, str)}


def dataset_of(path: Path) -> Path:
    """The folder of the dataset that a ``data.yaml`` describes: its ``path`` where that has what the file names.

    Raises:
        InputError: It is no ``data.yaml``.
    """
    top = read_yaml(path)
    base, parts = top.get("path"), [top.get(name) for name in ("train", "val", "test")]
    named = [each for part in parts for each in (part if isinstance(part, list) else [part]) if isinstance(each, str)]
    if isinstance(base, str) and base not in ("", ".") and len(base) < 1000:
        folder = path.parent / base
        if any(each and (folder / each[:1000]).exists() for each in named):
            return folder
    return path.parent


def yaml_files(root: Path) -> list[Path]:
    """The YAML files of a folder, ``data.yaml`` first."""
    found = [path for path in root.iterdir() if path.suffix.lower() in (".yaml", ".yml")] if root.is_dir() else []
    first = ("data", "dataset")
    return sorted(found, key=lambda path: (path.stem.lower() not in first, path.stem.lower() != "data", path.name))


def read_data_yaml(root: Path, given: Path | None = None) -> DataYaml:
    """What the files of a folder say about its categories.

    Args:
        root: The folder of the dataset; its parent is looked into where it has no such file.
        given: A YAML file of the user, used instead.
    """
    findings: list[Finding] = []
    above = yaml_files(root.parent) if root.name.lower() in _PARTS_OF_DATASETS else []
    for path in [*yaml_files(root), *above] if given is None else [given]:
        if found := _from_yaml(path, findings):
            return found
    if given is None and (found := _from_below(root, findings)):
        return found
    listed = find_file([root, root / "labels", root / "data"], _LISTS)
    if listed is not None:
        return DataYaml(_from_list(listed), findings=tuple(findings))
    if not findings:
        why = "no file names the categories: they are called class_0, class_1, ... (data.yaml: names)"
        findings.append(Finding("data.yaml", "noted", why, shapes=0))
    return DataYaml({}, findings=tuple(findings))


def _from_below(root: Path, findings: list[Finding]) -> DataYaml | None:
    """What the YAML files in folders of datasets below say, up to two levels; another one that differs is noted."""
    below = sorted(path for path in root.glob("*") if path.is_dir())
    folders = [*below, *sorted(path for folder in below for path in folder.glob("*") if path.is_dir())]
    chosen: tuple[str, DataYaml] | None = None
    for path in (each for folder in folders for each in yaml_files(folder)):
        found = _from_yaml(path, [])
        if found is None or not found.names:
            continue
        name = path.relative_to(root).as_posix()
        if chosen is None:
            chosen = (name, found)
        elif found.names != chosen[1].names:
            why = f"names other categories than {chosen[0]}, whose names are used: convert each dataset by itself"
            findings.append(Finding(name, "changed", why, shapes=0))
    if chosen is None:
        return None
    return replace(chosen[1], findings=(*findings, *chosen[1].findings))


def _from_yaml(path: Path, findings: list[Finding]) -> DataYaml | None:
    """What a YAML file says; None where it has neither names nor a number of them."""
    try:
        top = read_yaml(path)
    except InputError as error:
        findings.append(Finding(path.name, "noted", error.why(path.name), shapes=0))
        return None
    if "names" not in top and "nc" not in top and "kpt_shape" not in top:
        return None
    names, wrong = _names(top.get("names", []), path)
    rows = [Finding(path.name, "noted", why, shapes=0) for why in wrong]
    if not names:
        rows.append(Finding(path.name, "noted", "has no names: categories are called class_0, class_1, ...", shapes=0))
    return DataYaml(names, _keypoints(top.get("kpt_shape")), (*findings, *rows))


def _names(raw: Any, path: Path) -> tuple[dict[int, str], list[str]]:
    """The names in a YAML file: a list, numbers and names, the name of a file, or one name."""
    if isinstance(raw, str):
        listed = find_file([path.parent], [raw]) if raw and len(raw) < 200 else None
        if listed is not None:
            return _from_list(listed), []
        return ({0: raw.strip()} if raw.strip() else {}), []
    items: Iterable[tuple[Any, Any]] = raw.items() if isinstance(raw, dict) else enumerate(raw)
    names: dict[int, str] = {}
    wrong = []
    for number, name in items:
        try:
            if not isinstance(name, str):
                raise ValueError
            names[int(float(number))] = name.strip() or f"class_{number}"
        except (ValueError, OverflowError):
            wrong.append(f"names: {str(number)[:20]!r} is not a number with a name, and is ignored")
    first: dict[str, int] = {}
    for number, name in names.items():
        if first.setdefault(name, number) != number:
            wrong.append(f"names: {first[name]} and {number} are both {name[:80]!r}: they are one category")
    return names, wrong


def _keypoints(shape: Any) -> int:
    try:
        number, dimensions = (int(value) for value in shape)
    except (TypeError, ValueError):
        return 0
    return number * dimensions if 0 < number < 10_000 and 0 < dimensions < 10 else 0


def _from_list(path: Path) -> dict[int, str]:
    """The names in a file, one in a line; a file that cannot be read has none."""
    try:
        lines = read_text(path).splitlines()
    except InputError:
        return {}
    return {number: name for number, line in enumerate(lines) if (name := line.strip())}
