"""``memprofile --fit``: what segkit's own training needs on a GPU, and what makes it fit on a smaller one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segkit.config.memprofile import MemprofileConfig
from segkit.config.train import TrainConfig
from segkit.data.files import temporary_file
from segkit.errors import DONE, NO_FIT
from segkit.formats.dataset_folder import split_file
from segkit.memprofile.calibrate import overhead_here
from segkit.memprofile.cheaper_options import Changes, combinations, options_of, singles
from segkit.memprofile.needs import EVALUATING, Estimate, Overhead, RehearsedStep, estimate_training
from segkit.progress import SILENT, Progress
from segkit.runtime.device import resolve_precision
from segkit.training.micro_batch import most_that_fits
from segkit.training.plan import Plan, plan_without_folder, read_data
from segkit.training.run_options import found_training
from segkit.training.sources import share_of
from segkit.units import format_bytes

GPU_SIZES = tuple(size * 2**30 for size in (6, 8, 12, 16, 24))
_HELPS = 0.97  # of the memory needed: a change that saves less does not help
_EXPANDABLE = "PYTORCH_ALLOC_CONF=expandable_segments:True"


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The estimate, the file that holds it, and the exit code: 0 where it fits on every GPU, else 4."""

    document: dict[str, Any]
    json_path: Path
    code: int

    def to_json(self) -> dict[str, Any]:
        """What ``memprofile --fit --json`` prints."""
        return self.document


def estimate_memory(config: MemprofileConfig, progress: Progress = SILENT) -> MemoryEstimate:
    """Estimate what a training and cheaper ones need on a GPU, and write ``fit.json``.

    Args:
        config: The training, and the sizes of GPUs.
        progress: Receives the state of the work.

    Raises:
        SegkitError: There is no such run, config or dataset, or nothing to learn from in it.
    """
    configured, file = _training(config.run)
    if config.overhead is None:
        overhead = overhead_here(progress, measure=config.calibrate)
    else:
        overhead = Overhead(config.overhead, 0.0, assumed=False)
    estimator = _Estimator(configured, overhead, config.vram or GPU_SIZES, progress)
    try:
        document = estimator.document(_command(config.run, file))
    finally:
        progress.done()
    config.out.mkdir(parents=True, exist_ok=True)
    path = config.out / "fit.json"
    with temporary_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return MemoryEstimate(document, path, DONE if document["verdict"] == "fits" else NO_FIT)


def _training(target: Path | None) -> tuple[TrainConfig, Path | None]:
    """The training of a run or a config; of a dataset, the default one."""
    is_dataset = target is not None and (target.suffix == ".json" if target.is_file() else split_file(target, "train"))
    if target is not None and is_dataset:
        return TrainConfig(dataset=target), None
    return found_training(target)


def _command(target: Path | None, file: Path | None) -> str:
    if file is not None:
        return f"segkit train --config {file}"
    return f"segkit train {target}" if target is not None else "segkit train"


class _Estimator:
    """Estimates trainings that differ in some options, each once."""

    def __init__(self, configured: TrainConfig, overhead: Overhead, gpus: Sequence[int], progress: Progress) -> None:
        self._configured = replace(configured, gpus=None, device="auto", ranks=1, resume=None)
        self._ranks = len(configured.gpus) if configured.gpus else configured.ranks
        self._overhead, self._gpus, self._progress = overhead, gpus, progress
        training, val = read_data(configured.dataset, configured.fold)
        self._data = share_of(training, configured), val
        self._estimates: dict[str, Estimate] = {}
        self._kind: str | None = None  # of the real batches that need the most as configured
        self._dtype = _dtype(configured)
        self._plan = self._plan_of({})
        chosen = self._plan.config  # what is measured on the data is measured once
        self._configured = replace(self._configured, instances=chosen.instances, channels=chosen.channels)
        progress.start("rehearsing", None)

    def document(self, command: str) -> dict[str, Any]:
        """The content of ``fit.json``; ``command``: what starts the training as configured."""
        plan, micro = self._plan, self._micro_batch()
        first = self._estimate({}, micro)
        self._kind = first.heaviest_kind
        rows = [first, *(self._estimate(each, micro) for each in singles(self._configured, plan, micro))]
        cheapest = {gpu: self._cheapest(gpu, rows, micro, command) for gpu in self._gpus}
        helps = {found["options"] for found in cheapest.values() if found is not None} - {row.options for row in rows}
        rows += [each for each in self._estimates.values() if each.options in helps]
        what, size = first.binding()
        verdicts = [first.verdict(gpu).verdict for gpu in self._gpus]
        return {
            "verdict": next((each for each in ("does not fit", "tight") if each in verdicts), "fits"),
            "training": self._described(micro),
            "vram": [{"vram": gpu, **first.verdict(gpu)._asdict(), "cheapest": cheapest[gpu]} for gpu in self._gpus],
            "settings": [self._row(each) for each in rows],
            "binding": _binding(first.worst, what, size),
            "overhead": {"fixed": self._overhead.fixed, "share": self._overhead.share,
                         "assumed": self._overhead.assumed, "gpu": self._overhead.gpu},
            "warnings": self._warnings(first),
        }  # fmt: skip

    def _micro_batch(self) -> int:
        share = self._plan.batch // self._ranks
        count = self._plan.config.micro_batch
        if count != "auto":
            return int(count or share)
        gpu = self._configured.vram or min(self._gpus)
        found = most_that_fits(share, lambda count: self._estimate({}, count).fits(gpu))
        return max(1, found)

    def _cheapest(self, gpu: int, rows: list[Estimate], micro: int, command: str) -> dict[str, Any] | None:
        """The cheapest change after which a GPU is large enough; None where nothing has to change, or nothing helps.

        Args:
            gpu: Its memory in bytes.
            rows: The estimate as configured, and those with one change each.
            micro: The micro-batch as configured.
            command: What starts the training as configured.
        """
        first = rows[0]
        if first.fits(gpu):
            return None
        if first.fits_when_expandable(gpu):
            return {"options": "", "command": f"{_EXPANDABLE} {command}"}
        for one in rows[1:]:
            if one.fits(gpu):
                return {"options": one.options, "command": f"{command} {one.options}"}
        helps = {name for one in rows[1:] for name in one.changes if one.needs[1] < _HELPS * first.needs[1]}
        for changes in combinations(self._configured, self._plan, micro, helps):
            one = self._estimate(changes, micro)
            if one.fits(gpu):
                return {"options": one.options, "command": f"{command} {one.options}"}
        return None

    def _estimate(self, changes: Changes, micro: int) -> Estimate:
        count = int(changes.get("micro_batch", micro))
        key = f"{options_of(changes)} {count}"
        if key not in self._estimates:
            plan, kind = self._plan_of(changes), self._kind if changes else None
            self._estimates[key] = estimate_training(plan, changes, count, self._ranks, self._overhead, kind)
            self._progress.advance(1, trying=options_of(changes) or "as configured")
        return self._estimates[key]

    def _plan_of(self, changes: Changes) -> Plan:
        dtype = torch.bfloat16 if changes.get("precision") == "bf16" else self._dtype
        device = torch.device("cuda")
        return plan_without_folder(replace(self._configured, **changes), *self._data, device, self._ranks, dtype)

    def _row(self, one: Estimate) -> dict[str, Any]:
        now, most = one.needs
        return {
            "options": one.options,
            "micro_batch": one.micro_batch,
            "held": one.held,
            "allocated": {"now": one.allocated[0], "at_most": one.allocated[1]},
            "reserved": {"now": one.reserved[0], "at_most": one.reserved[1],
                         "at_most_expandable": max(one.expandable.reserved)},
            "needed": {"now": now, "at_most": most},
            "verdicts": {str(gpu): one.verdict(gpu)._asdict() for gpu in self._gpus},
            "peaks": [
                {"of": each.scene.name, "picture": each.scene.heaviest.name, "instances": each.scene.heaviest.instances,
                 "allocated": each.peak.allocated, "parts": dict(sorted(each.peak.by_category.items(),
                                                                        key=lambda item: -item[1]))}
                for each in one.rehearsed
            ],
        }  # fmt: skip

    def _described(self, micro: int) -> dict[str, Any]:
        card, config = self._plan.card, self._plan.config
        return {
            "model": card.model, "backbone": card.backbone, "norm": card.norm, "optimizer": config.optimizer,
            "size": card.framing.size, "max_size": card.framing.max_size, "batch": self._plan.batch,
            "micro_batch": micro, "gpus": self._ranks, "precision": str(self._plan.dtype).removeprefix("torch."),
            "memory": config.memory, "shard": config.shard, "images": len(self._plan.train.images),
        }  # fmt: skip

    def _warnings(self, first: Estimate) -> list[str]:
        notes = [
            f"{each}: its size depends on values and is not known; the largest possible one was taken"
            for each in first.unknown
        ]
        if self._configured.precision == "auto" and self._plan.dtype is torch.float32:
            notes.append("--precision auto was taken as fp32, as on GPUs without bf16; newer ones (Ampere, RTX 30 and "
                         "later) take bf16")  # fmt: skip
        if self._ranks > 1:
            notes.append("the buffers with which ranks exchange gradients (NCCL) were not counted")
        if self._configured.shard:
            notes.append("--shard: the figures are those of one GPU; what is gathered in a step is an upper bound, and "
                         "an evaluation has the whole model on every GPU")  # fmt: skip
        if self._configured.compile:
            notes.append("--compile was left out: what compiled code needs is not known before it is compiled")
        if self._plan.card.norm == "batch":
            notes.append("batch norm depends on the micro-batch: --micro-batch changes what is learnt, except with "
                         "--norm group or frozen")  # fmt: skip
        return notes


def _dtype(configured: TrainConfig) -> torch.dtype:
    """The precision of the GPU that is here; where there is none, the one that needs the most memory."""
    if configured.precision == "auto" and not torch.cuda.is_available():
        return torch.float32
    return resolve_precision(configured.precision, torch.device("cuda"))


def _binding(worst: RehearsedStep, what: str, size: int) -> dict[str, Any]:
    shape, name = worst.scene.heaviest, worst.scene.name
    counted = f", {shape.instances} instance{'' if shape.instances == 1 else 's'}" if len(shape.boxes) else ""
    height, width = worst.scene.frame or (shape.height, shape.width)
    return {
        "picture": shape.name, "instances": shape.instances, "height": height, "width": width, "part": what,
        "bytes": size, "of": worst.peak.allocated, "when": name,
        "text": f"{EVALUATING + ' ' if name == EVALUATING else ''}{shape.name}{counted}, {height}x{width} as the "
                f"model gets it: {format_bytes(size)} of {format_bytes(worst.peak.allocated)} in {what}",
    }  # fmt: skip
