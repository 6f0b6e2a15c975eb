"""Opening pictures with masks: folders of them, or a table that names them."""

from dataclasses import replace
from pathlib import Path

from segkit.config.convert import ConvertConfig
from segkit.conversion.detect import Detected
from segkit.errors import InputError
from segkit.formats.label_images.idmask import find_instance_folders, holds_instance_ids, open_idmask
from segkit.formats.label_images.pairs import find_pairs
from segkit.formats.label_images.pairs_apart import find_pairs_apart
from segkit.formats.label_images.semantic import open_semantic
from segkit.formats.label_images.table import read_table
from segkit.formats.source import Source


def open_masks(config: ConvertConfig, detected: Detected, root: Path) -> Source:
    """The pictures and masks of SRC, as instances or as classes.

    Args:
        config: The options.
        detected: The format, and the pairs that were found on the way.
        root: The folder, or the table.

    Raises:
        InputError: There are none.
    """
    if detected.format == "csv":
        return _open_table(config, root)
    as_instances = detected.format == "idmask" and config.colours is None
    pairs = detected.pairs
    if not pairs and config.images_dir is not None:
        pairs = find_pairs_apart(config.images_dir, root, config.out)
    pairs = pairs or find_pairs(root, config.out)
    if as_instances:
        pairs = pairs or find_instance_folders(root, config.out)
        return open_idmask(root, pairs, guessed=detected.pairs is not None)
    return open_semantic(root, pairs, config.labels, config.colours)


def _open_table(config: ConvertConfig, root: Path) -> Source:
    """A table; a folder must have one CSV file. The kind of masks is asked, or decided by the masks and told."""
    tables = [root] if root.is_file() else sorted(p for p in root.glob("*") if p.suffix.lower() == ".csv")
    if len(tables) != 1:
        raise InputError(
            f"{config.src}: has {len(tables)} CSV files, not one", "name the table: segkit convert TABLE.csv"
        )
    pairs, findings = read_table(tables[0])
    folder = tables[0].parent
    kind = config.masks
    if kind == "auto":
        kind = "idmask" if config.colours is None and holds_instance_ids(folder, pairs) else "semantic"
    if kind == "idmask":
        source = open_idmask(folder, pairs, guessed=config.masks == "auto")
    else:
        source = open_semantic(folder, pairs, config.labels, config.colours)
    return replace(source, format="csv", findings=(*findings, *source.findings))
