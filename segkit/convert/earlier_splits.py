"""The splits of an earlier dataset: images that were validated on must not be trained on because others were added."""

from pathlib import Path
from typing import Any

from segkit.config.convert import ConvertConfig
from segkit.convert.split import SPLITS
from segkit.errors import InputError
from segkit.formats.json_file import read_json


def split_settings(config: ConvertConfig) -> dict[str, Any]:
    """The options that decide on splits; ``report.json`` has them for the next conversion."""
    return {"val": config.val, "test": config.test, "group_by": config.group_by, "seed": config.seed}


def earlier_splits(out: Path, keep_splits: Path | None, settings: dict[str, Any]) -> dict[str, str]:
    """The split of every image of an earlier dataset, by file name.

    Args:
        out: The folder that is written to; its dataset counts if it was split by the same settings.
        keep_splits: The dataset to take the splits from instead.
        settings: What ``split_settings`` returns.

    Raises:
        InputError: ``keep_splits`` is no dataset.
    """
    if keep_splits is None:
        report = out / "report.json"
        top = read_json(report) if report.is_file() else None
        if not isinstance(top, dict) or top.get("split_settings") != settings:
            return {}
    dataset = keep_splits or out
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = dataset / f"{split}.json"
        if path.is_file():
            top = read_json(path)
            images = top.get("images", []) if isinstance(top, dict) else []
            splits |= {
                image["file_name"]: split for image in images if isinstance(image, dict) and "file_name" in image
            }
    if not splits and keep_splits is not None:
        raise InputError(f"{dataset}: no dataset to take splits from", "--keep-splits names a folder with train.json")
    return splits
