"""``memprofile`` of segkit's own training."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from segkit.config.memprofile import MemprofileConfig
from segkit.config.train import TrainConfig
from segkit.data.locks import temporary_directory
from segkit.errors import ConfigError, Interrupted
from segkit.memory.process.launch import SNAPSHOT
from segkit.memory.process.session_meter import SessionMeter
from segkit.memory.report.document import report_of
from segkit.memory.session import Session
from segkit.progress import Progress
from segkit.training.run_options import found_training
from segkit.training.train import train

_STEPS = 30


def profile_training(config: MemprofileConfig, progress: Progress) -> dict[str, Any]:
    """Measure real steps with the config of the run, and return the report; the weights are discarded.

    Args:
        config: What to measure.
        progress: Receives the state of the training.

    Raises:
        SegkitError: There is no such run, its config cannot be used here, or Ctrl-C was pressed.
    """
    training = _training_config(config)
    if found_training(config.run)[0].shard:
        progress.note("warning: measured on one rank without --shard; what each rank needs with it: memprofile --fit")
    session = Session(every=config.step_every, deep=config.deep)
    with temporary_directory("segkit-memprofile-") as folder:
        session.start(phases=False)
        try:
            short = replace(training, out=folder, steps=config.steps or _STEPS)
            ended = train(short, progress, partial(SessionMeter, session=session)).ended
            session.clock.close()
        finally:
            session.finish()
    if ended == "interrupted":
        raise Interrupted("interrupted before enough was measured")
    config.out.mkdir(parents=True, exist_ok=True)
    session.snapshot(config.out / SNAPSHOT)
    document = report_of(session, config.limit)
    backbone = training.backbone or "default backbone"
    document["model"] = f"{training.model}, {backbone}, batch {training.batch or 'default'}"
    return document


def _training_config(config: MemprofileConfig) -> TrainConfig:
    """The config of the run, changed so that it is one short run in this process."""
    found, _ = found_training(config.run)
    of_run = "device" not in config.given_options()
    if of_run and found.gpus and not torch.cuda.is_available():
        raise ConfigError("the run was made for GPUs, and there is none here", "measure it on the CPU: --device cpu")
    gpus = found.gpus[:1] if found.gpus and of_run else None
    device = found.device if of_run else config.device
    return replace(
        found, gpus=gpus, device="auto" if gpus else device, ranks=1, shard=False, epochs=None, time=None, name=None,
        resume=None, patience=None, eval_every=10**9, failures=0,
    )  # fmt: skip
