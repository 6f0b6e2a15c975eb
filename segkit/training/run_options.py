"""The options of a run that exists: to resume it, or to measure it."""

import os
from dataclasses import replace
from pathlib import Path

from segkit.config.fields import flag_of, load_config, options_of
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError, InputError
from segkit.runs.folder import CONFIG, LATEST, find_run, newest_without_checkpoint

LIMITS, DEVICES = frozenset({"epochs", "steps", "time"}), frozenset({"gpus", "device"})
MAY_CHANGE = LIMITS | DEVICES | {
    "ranks", "workers", "micro_batch", "vram", "memory", "compile", "patience", "bad_pictures", "tensorboard",
    "failures", "shard",
}  # fmt: skip


def config_of_run(config: TrainConfig) -> TrainConfig:
    """The options of the run that ``config.resume`` names; limits and devices may be given anew.

    A dataset at another place is compared with the run's when it is read (``segkit.training.same_data``).

    Raises:
        ConfigError: An option that cannot change was given with another value than the run's.
        InputError: There is no such run, or its dataset is gone.
    """
    assert config.resume is not None
    run = _latest_run(config.out) if config.resume == LATEST else find_run(Path(config.resume))
    stored = load_config(TrainConfig, run / CONFIG)
    given = config.given_options() - {"resume"}
    values = {name: getattr(config, name) for name in given & MAY_CHANGE}
    changed = [
        flag_of(each)
        for each in options_of(TrainConfig)
        if each.name in given - MAY_CHANGE and not _is_of_run(each.name, config, stored, run)
    ]
    if changed:
        raise ConfigError(
            f"--resume goes on with the config of {run}: {', '.join(changed)} cannot be changed",
            f"for a new run with other options: segkit train --config {run / CONFIG} {changed[0]} ...",
        )
    if "dataset" in given and not _is_same_place(config.dataset, stored.dataset):
        values["dataset"] = config.dataset.absolute()
    elif not stored.dataset.exists():
        raise InputError(
            f"{run}: its dataset is gone: {stored.dataset}",
            f"was it moved? name its new place: segkit train DATASET --resume {run}",
        )
    if given & LIMITS:
        values = dict.fromkeys(LIMITS) | values
    if given & DEVICES:
        values = {"gpus": None, "device": "auto", "ranks": 1, "shard": False} | values
    return replace(replace(stored, **values), resume=str(run))


def _latest_run(out: Path) -> Path:
    """The run that ``--resume`` alone means.

    Raises:
        InputError: There is none, or a newer one has no checkpoint: which of them is meant is not known.
    """
    latest = out / LATEST
    run = find_run(latest) if os.path.lexists(latest) else None
    newer = newest_without_checkpoint(out, run)
    if newer is None:
        return run or find_run(latest)
    if run is None:
        raise InputError(f"{newer}: has no checkpoint to go on from", f"start it again: segkit train --resume {newer}")
    raise InputError(
        f"{newer}: is newer than {run.name}, the latest run with a checkpoint, but has none itself",
        f"name the one to go on with: --resume {out / run.name}, or --resume {newer}, which starts again",
    )


def _is_of_run(name: str, config: TrainConfig, stored: TrainConfig, run: Path) -> bool:
    """Whether an option has the value that the run was made with."""
    if name == "name":
        return config.name == run.name
    if name == "out":
        return config.out.resolve() == run.resolve().parent
    if name == "dataset":
        return True  # it is compared when it is read
    same: bool = getattr(config.with_absolute_places(), name) == getattr(stored, name)
    return same


def _is_same_place(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()


def found_training(target: Path | None) -> tuple[TrainConfig, Path | None]:
    """The options of a run or a config.toml, and the file; by default those of the latest run, or the defaults.

    Raises:
        InputError: There is neither a run nor a dataset.
    """
    if target is None and not Path("runs/latest").exists():
        if not Path("dataset").is_dir():
            raise InputError(
                "neither runs/latest nor ./dataset is here",
                "name a run or a config.toml: segkit memprofile runs/NAME, or a script: segkit memprofile -- train.py",
            )
        return TrainConfig(), None
    path = target or Path("runs/latest")
    file = path if path.is_file() and path.suffix == ".toml" else find_run(path) / CONFIG
    return load_config(TrainConfig, file), file
