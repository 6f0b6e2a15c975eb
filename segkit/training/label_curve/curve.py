"""``train --label-curve``: a run for each part of the labels and each seed, and what follows from their scores."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segkit.config.fields import load_config, write_toml
from segkit.config.train import TrainConfig
from segkit.data.files import temporary_file
from segkit.errors import ConfigError, InputError
from segkit.progress import SILENT, Progress
from segkit.runs.find import LAST
from segkit.runs.folder import CONFIG, METRICS, find_run, new_run
from segkit.runs.metrics_file import read_metrics
from segkit.runtime.ranks import launched_from_outside
from segkit.training.label_curve.draw import draw_label_curve
from segkit.training.label_curve.next_steps import next_steps
from segkit.training.label_curve.page import write_page
from segkit.training.label_curve.power_law import PowerLaw
from segkit.training.train import train

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
CURVE, DONE = "curve.json", "score.json"


@dataclass(frozen=True, slots=True)
class LabelCurve:
    """A curve of labels: its folder, its document, and whether it was interrupted before its end."""

    folder: Path
    document: dict[str, Any]
    interrupted: bool

    def to_json(self) -> dict[str, Any]:
        """What ``train --label-curve --json`` prints."""
        return {"folder": str(self.folder), "interrupted": self.interrupted, **self.document}


def is_curve(config: TrainConfig) -> bool:
    """Whether a curve is asked for, or one that exists is to go on."""
    if config.resume is None:
        return config.label_curve
    path = Path(config.resume) / CONFIG
    return path.is_file() and load_config(TrainConfig, path).label_curve


def train_curve(config: TrainConfig, progress: Progress = SILENT) -> LabelCurve:
    """Train on an eighth, a quarter, half and all of the labels, with several seeds; what is done is not done again.

    Args:
        config: The options of every run; ``curve_seeds`` says how many seeds, ``resume`` which curve goes on.
        progress: Shows what the runs report.

    Raises:
        SegkitError: As ``train``; the runs that are done are in the folder of the curve.
    """
    if launched_from_outside():
        raise ConfigError("--label-curve starts its runs itself", "use --gpus, and neither torchrun nor srun")
    folder, config = _folder(config)
    parts = [(share, seed) for share in SHARES for seed in range(config.seed, config.seed + config.curve_seeds)]
    points: list[dict[str, Any]] = []
    for number, (share, seed) in enumerate(parts, 1):
        run = folder / f"{round(share * 8)}of8-seed{seed}"
        if not (run / DONE).is_file():
            progress.note(f"label curve, part {number} of {len(parts)}: {share:.1%} of the labels, seed {seed}")
            if not _train_part(config, run, share, seed, progress):
                return LabelCurve(folder, document_of(points), True)
        points.append(json.loads((run / DONE).read_text(encoding="utf-8")))
    document = document_of(points)
    document["next"] = [step._asdict() for step in next_steps(folder, document, config.curve_seeds)]
    with temporary_file(folder / CURVE) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draw_label_curve(folder, document)
    write_page(folder, document, {"dataset": str(config.dataset), "model": config.model})
    return LabelCurve(folder, document, False)


def _folder(config: TrainConfig) -> tuple[Path, TrainConfig]:
    """The folder of a curve, and the options of its runs: those that it was begun with.

    Raises:
        SegkitError: The folder is there already, or other options are given for it.
    """
    if config.resume is not None:
        folder = find_run(Path(config.resume))
        if changed := sorted(config.given_options() - {"resume", "label_curve"}):
            raise ConfigError(f"--resume goes on with the options of {folder}: {changed[0]} cannot be changed")
        return folder, load_config(TrainConfig, folder / CONFIG)
    folder = new_run(config.out, config.name, "curve")
    config = replace(config.with_absolute_places(), name=None, out=folder.absolute())
    write_toml(config, folder / CONFIG)
    return folder, config


def _train_part(config: TrainConfig, run: Path, share: float, seed: int, progress: Progress) -> bool:
    """Make one run, or end it, and write its score; returns whether it was not interrupted."""
    if any(run.glob("*.pt")):
        options = TrainConfig(resume=str(run))
    else:
        shutil.rmtree(run, ignore_errors=True)
        options = replace(config, label_curve=False, label_share=share, seed=seed, name=run.name)
    summary = train(options, progress)
    if summary.ended == "interrupted":
        return False
    point = _point(run, share, seed, torch.load(run / LAST, weights_only=True, mmap=True)["data"]["train"]["images"])
    with temporary_file(run / DONE) as temporary:
        temporary.write_text(json.dumps(point, indent=1) + "\n", encoding="utf-8")
    return True


def _point(run: Path, share: float, seed: int, images: int) -> dict[str, Any]:
    """The best evaluation of a run.

    Raises:
        InputError: It has none.
    """
    lines = list(read_metrics(run / METRICS))
    scores = [(_score(line), line) for line in lines if line["kind"] == "eval"]
    if not scores:
        raise InputError(f"{run}: was not evaluated", "a label curve needs a validation split: convert with --val 0.2")
    (kind, whole, figure, best), line = max(scores, key=lambda pair: pair[0][3])
    by_category = {name: max(0.0, each[figure]) for name, each in line[kind]["per_category"].items()}
    return {
        "share": share, "seed": seed, "images": images, "metric": f"{kind} {whole}", "score": best,
        "per_category": by_category,
    }  # fmt: skip


def _score(line: dict[str, Any]) -> tuple[str, str, str, float]:
    """What runs are compared by: its kind, its name, its name for a category, and its value."""
    for kind, whole, figure in (
        ("panoptic", "PQ", "PQ"), ("semantic", "mIoU", "IoU"), ("segm", "AP", "AP"), ("bbox", "AP", "AP"),
    ):  # fmt: skip
        if kind in line:
            return kind, whole, figure, max(0.0, float(line[kind][whole]))
    raise AssertionError


def document_of(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``curve.json`` holds."""
    document: dict[str, Any] = {"points": list(points)}
    sizes = [point["images"] for point in points]
    law = PowerLaw.through(sizes, [point["score"] for point in points])
    if law is None:
        return document
    most = max(sizes)
    categories = {
        name: found
        for name in points[0]["per_category"]
        if (found := PowerLaw.through(sizes, [point["per_category"].get(name, 0.0) for point in points]))
    }
    gains = {name: found.at(2 * most) - found.at(most) for name, found in categories.items()}
    return document | {
        "metric": points[0]["metric"],
        "images": most,
        "now": law.at(most),
        "twice": law.at(2 * most),
        "plus_minus": law.plus_minus(2 * most),
        "interval": None if (ends := law.interval(2 * most)) is None else list(ends),
        "exponent": law.exponent,
        "exponents": None if law.exponents is None else list(law.exponents),
        "limit": law.limit,
        "slope": law.slope,
        "gains": gains,
        "gains_most": max(gains, key=lambda name: gains[name], default=None),
    }
