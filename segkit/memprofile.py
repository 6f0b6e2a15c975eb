"""``memprofile``: the trainer, measured step by step and phase by phase."""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from segkit.config.fields import load_config
from segkit.config.memprofile import MemprofileConfig
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError, InputError, Interrupted
from segkit.memory.meter import Meter
from segkit.memory.page import render_page
from segkit.memory.recorder import Recorder
from segkit.memory.report import MemoryReport
from segkit.memory.tracker import LiveTensors
from segkit.memory.verdict import judge
from segkit.progress import SILENT, Progress
from segkit.runs import CONFIG, find_run
from segkit.train import train


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """A report, and the files that hold it."""

    report: MemoryReport
    json_path: Path
    page_path: Path


def memprofile(config: MemprofileConfig, progress: Progress = SILENT) -> ProfileSummary:
    """Measure training steps of a run, and one evaluation, and write the report.

    The steps are real ones, from the run's own config; their weights are thrown away.

    Raises:
        SegkitError: There is no such run, or its config cannot be run here.
    """
    training = _training_config(config)
    recorders: list[Recorder] = []
    with tempfile.TemporaryDirectory(prefix="segkit-memprofile-") as folder, LiveTensors() as tensors:

        def record(device: torch.device) -> Meter:
            recorders.append(Recorder(device, tensors))
            return recorders[0]

        ended = train(replace(training, out=Path(folder), steps=config.steps), progress, record).ended
        if ended == "interrupted":
            raise Interrupted("interrupted before enough was measured")
        recorder = recorders[0]
        verdict, suspects = judge(recorder.survivors(), len(recorder.samples))
    on_cuda = recorder.device.type == "cuda"
    report = MemoryReport(
        verdict=verdict,
        suspects=tuple(suspects),
        samples=tuple(recorder.samples),
        after=recorder.after_the_last_step(),
        peaks=recorder.peaks,
        counted="bytes of PyTorch's CUDA allocator" if on_cuda else "bytes of live tensors, counted one by one",
        device=torch.cuda.get_device_name(recorder.device) if on_cuda else "cpu",
        limit=torch.cuda.get_device_properties(recorder.device).total_memory if on_cuda else None,
        model=f"{training.model}, {training.backbone or 'default backbone'}, batch {training.batch or 'default'}",
    )
    document = report.to_json()
    config.out.mkdir(parents=True, exist_ok=True)
    json_path, page_path = config.out / "memory.json", config.out / "memory.html"
    json_path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    page_path.write_text(render_page(document), encoding="utf-8")
    return ProfileSummary(report, json_path, page_path)


def _training_config(config: MemprofileConfig) -> TrainConfig:
    """What to run: the run's config, without what would keep it from being one short run in this process."""
    if config.run is None and not Path("runs/latest").exists():
        if not Path("dataset").is_dir():
            raise InputError(
                "neither runs/latest nor ./dataset is here",
                "name a run or a config.toml: segkit memprofile runs/NAME",
            )
        found = TrainConfig()
    else:
        path = config.run or Path("runs/latest")
        found = load_config(TrainConfig, path if path.is_file() and path.suffix == ".toml" else find_run(path) / CONFIG)
    if config.device == "auto" and found.gpus and not torch.cuda.is_available():
        raise ConfigError("the run was made for GPUs, and there is none here", "measure it on the CPU: --device cpu")
    gpus = found.gpus[:1] if found.gpus and config.device == "auto" else None
    device = found.device if config.device == "auto" else config.device
    return replace(
        found, gpus=gpus, device="auto" if gpus else device, ranks=1, epochs=None, time=None, name=None, resume=None,
        patience=None, eval_every=10**9,
    )  # fmt: skip
