"""``eval`` of a model: its predictions on a split, and their score."""

import os
from pathlib import Path

from segkit.config.evaluate import EvalConfig
from segkit.config.fields import read_toml
from segkit.data.records import Dataset
from segkit.errors import ConfigError, InputError
from segkit.evaluate.evaluated import Evaluated
from segkit.formats.coco.file import read_coco
from segkit.formats.dataset_folder import find_split, with_pictures_in
from segkit.inference.model import LoadedModel, load
from segkit.inference.score import Wanted, default_iou_types, score
from segkit.progress import SILENT, Progress
from segkit.runtime.device import out_of_memory_told, resolve_device, resolve_precision
from segkit.runtime.ranks import Ranks


def evaluate_model(config: EvalConfig, progress: Progress = SILENT) -> Evaluated:
    """Score a model on a split.

    Raises:
        InputError: There is no such model or data, or the data has other categories.
    """
    model = load(config.subject, resolve_device(config.device))
    file = _file_of(model, config)
    dataset = with_pictures_in(config.images_dir, _matching(model, read_coco(file), config))
    folder = config.out or model.path.parent
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: no permission to write there", "name another folder for metrics.json: --out")
    kinds = config.iou
    if config.task == "semantic":
        kinds = config.iou or ()
        if model.card.framing.kind != "semantic":
            raise ConfigError(f"--task semantic: {model.path} predicts instances, not a label for every pixel")
    elif config.task == "instance":
        kinds = config.iou or default_iou_types(model.card) or ("segm",)
    if kinds and {"segm", "boundary"} & set(kinds) and model.card.model == "fasterrcnn":
        raise ConfigError(f"--iou {','.join(kinds)}: {model.path} predicts boxes only", "use --iou bbox")
    dtype = resolve_precision("auto" if model.device.type == "cuda" else "fp32", model.device)
    wanted = Wanted(
        kinds=kinds,
        pixels=False if config.task == "instance" else None,
        max_dets=config.max_dets,
        engine=config.engine,
        explains=config.explains,
        draws=config.bootstrap if config.explains else 0,
        lvis=file if config.lvis else None,
    )
    with out_of_memory_told("try a smaller --batch, or --device cpu"):
        scored = score(
            model.predict,
            model.card,
            dataset,
            Ranks(0, 1, model.device),
            dtype=dtype,
            batch=config.batch,
            workers=config.workers or 0,
            wanted=wanted,
            progress=progress,
        )
    return Evaluated(scored.metrics, folder, str(model.path), dataset, tuple(scored.results), scored.pixels)


def _file_of(model: LoadedModel, config: EvalConfig) -> Path:
    """The data named, else that of the model's run, else ./dataset."""
    if config.data is not None:
        return find_split(config.data, config.split if config.data.is_dir() else "train")
    run_config = model.path.parent / "config.toml"
    path = Path(str(read_toml(run_config).get("dataset", "dataset"))) if run_config.is_file() else Path("dataset")
    return find_split(path if path.is_dir() else path.parent, config.split)


def _matching(model: LoadedModel, dataset: Dataset, config: EvalConfig) -> Dataset:
    """The dataset, if its categories are the model's.

    Raises:
        InputError: They are not.
    """
    own, theirs = (
        {(c.id, c.name) for c in model.card.categories},
        {(c.id, c.name) for c in dataset.categories},
    )
    if own != theirs:
        odd = ", ".join(f"{name!r} (id {number})" for number, name in sorted(own ^ theirs, key=str)[:4])
        raise InputError(
            f"{model.path}: its categories are not those of the data: {odd} in only one of them",
            "convert the data with --labels of the run's labels.txt",
        )
    return dataset
