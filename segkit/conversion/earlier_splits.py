"""The splits of an earlier dataset: images that were validated on must not be trained on because others were added."""

from pathlib import Path
from typing import Any

from segkit.config.convert import ConvertConfig
from segkit.conversion.output import OutputDataset
from segkit.conversion.split import SPLITS
from segkit.errors import InputError
from segkit.formats.json_file import read_json


def split_settings(config: ConvertConfig) -> dict[str, Any]:
    """The options that decide on splits; ``report.json`` has them for the next conversion."""
    return {"val": config.val, "test": config.test, "group_by": config.group_by, "seed": config.seed}


def for_next_conversion(config: ConvertConfig, output: OutputDataset) -> dict[str, Any]:
    """What ``report.json`` has for the next conversion: the settings, and the splits where no COCO file has them."""
    settings = {"split_settings": split_settings(config)}
    if config.target_format == "coco" or not output.names_splits:
        return settings
    names = {split: [image.name for image in output.images if image.split == split] for split in output.splits}
    return settings | {"image_splits": names}


def earlier_splits(out: Path, keep_splits: Path | None, settings: dict[str, Any]) -> dict[str, str]:
    """The split of every image of an earlier dataset, by file name.

    Args:
        out: The folder that is written to; its dataset counts if it was split by the same settings.
        keep_splits: The dataset to take the splits from instead.
        settings: What ``split_settings`` returns.

    Raises:
        InputError: ``keep_splits`` is no dataset.
    """
    dataset = keep_splits or out
    report = dataset / "report.json"
    top = read_json(report) if report.is_file() else None
    report_top = top if isinstance(top, dict) else {}
    if keep_splits is None and report_top.get("split_settings") != settings:
        return {}
    splits = _listed(report_top.get("image_splits")) or _in_coco_files(dataset)
    if not splits and keep_splits is not None:
        raise InputError(f"{dataset}: no dataset to take splits from", "--keep-splits names a folder of segkit convert")
    return splits


def _listed(image_splits: Any) -> dict[str, str]:
    """The splits in a report."""
    if not isinstance(image_splits, dict):
        return {}
    return {
        name: split
        for split, names in image_splits.items()
        if split in SPLITS and isinstance(names, list)
        for name in names
        if isinstance(name, str)
    }


def _in_coco_files(dataset: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = dataset / f"{split}.json"
        if path.is_file():
            top = read_json(path)
            images = top.get("images", []) if isinstance(top, dict) else []
            splits |= {
                image["file_name"]: split for image in images if isinstance(image, dict) and "file_name" in image
            }
    return splits
