"""Keep a failing step: a folder in ``failures`` of the run, whole or absent; a run that would go on goes on."""

import json
import platform
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segkit.config.fields import write_toml
from segkit.data.files import checksum, flush_to_disk, remove_left_over
from segkit.errors import DeviceError
from segkit.loading.whole import Sample
from segkit.memory.measure.host import resident
from segkit.memory.measure.torch_private import dump_snapshot
from segkit.runs.find import LAST
from segkit.runs.folder import FAILURES
from segkit.runtime.device import device_name
from segkit.runtime.ranks import Ranks
from segkit.training.failures import bottle
from segkit.training.failures.step_failure import StepFailure, StepWatch
from segkit.training.plan import Plan
from segkit.training.state import TrainingState, random_state
from segkit.training.teachers.teaching import Teaching
from segkit.units import format_bytes
from segkit.version import __version__

_MOST_WEIGHTS, _MOST_PICTURES = 2**30, 2**28  # bytes in a bottle
_SPARE = 2**28  # bytes that stay free on the disk, besides room for a checkpoint


@dataclass(slots=True)
class _Before:
    """What a step begins with and changes."""

    random: list[torch.Tensor]
    scaler: dict[str, Any]
    teaching: dict[str, Any]


class FailureKeeper(StepWatch):
    """Writes the failing steps of this rank into the run."""

    def __init__(
        self, plan: Plan, state: TrainingState, ranks: Ranks, teaching: Teaching, warn: Callable[[str], None]
    ) -> None:
        """Watch a run.

        Args:
            plan: The run, with its folder.
            state: What changes in it.
            ranks: The processes that share it.
            teaching: What the model learns from.
            warn: Shows a message of any rank.
        """
        self._plan, self._state, self._ranks, self._teaching, self._warn = plan, state, ranks, teaching, warn
        self._folder = plan.run / FAILURES
        self._most = plan.config.failures
        self._figures: dict[str, int] = {}
        self._said_full = False
        self._before: _Before | None = None

    def begin(self) -> None:
        """See ``StepWatch``."""
        if self._most:
            scaler = self._state.scaler.state_dict() if self._state.scaler.is_enabled() else {}
            self._before = _Before(random_state(self._ranks.device), scaler, self._teaching.to_plain())

    def look(self) -> None:
        """See ``StepWatch``."""
        if self._ranks.device.type != "cuda" or self._path.exists() or self._kept() >= self._most:
            return
        with suppress(Exception):  # memory is short: the step is kept without
            device = self._ranks.device
            self._figures = {
                "allocated": torch.cuda.memory_allocated(device),
                "reserved": torch.cuda.memory_reserved(device),
                "peak": torch.cuda.max_memory_allocated(device),
            }
            self._writing.mkdir(parents=True, exist_ok=True)
            dump_snapshot(self._writing / bottle.SNAPSHOT)

    def keep(self, failure: StepFailure, batch: Sequence[Sample]) -> None:
        """See ``StepWatch``; what goes wrong here is said."""
        if not self._most or self._before is None or self._path.exists():
            return
        if self._kept() >= self._most:
            if not self._said_full:
                self._warn(f"step {self._state.step + 1} failed, too; {self._folder} holds {self._most} steps already")
            self._said_full = True
            return
        if self._ranks.world_size > 1 and (self._plan.card.norm == "sync" or self._state.sharded):
            option = "--shard" if self._state.sharded else "--norm sync"
            self._warn(f"the failing step is not kept: {option} computes over all ranks, and a part alone is another")
            return
        path = self._path
        try:
            self._write(failure, batch, path)
        except Exception as error:  # a full disk, no memory: the run has troubles enough
            why = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
            self._warn(f"warning: the failing step {self._state.step + 1} could not be kept in {self._folder}: {why}")
        else:
            self._warn(f"step {self._state.step + 1} failed ({failure.kind}) and is kept: segkit replay {path}")
        finally:
            with suppress(OSError):
                remove_left_over(self._writing)
                self._folder.rmdir()  # where it is empty
            self._figures = {}

    @property
    def _path(self) -> Path:
        return self._folder / bottle.name_of(self._state.step + 1, self._ranks.rank, self._ranks.world_size)

    @property
    def _writing(self) -> Path:
        return self._path.with_name(f".{self._path.name}.writing")

    def _kept(self) -> int:
        """How many failing steps of this rank the run has."""
        end = "" if self._ranks.world_size == 1 else f"-rank{self._ranks.rank}"
        with suppress(OSError):
            return sum(each.name.endswith(end) and not each.name.startswith(".") for each in self._folder.iterdir())
        return 0

    def _write(self, failure: StepFailure, batch: Sequence[Sample], path: Path) -> None:
        if self._folder.is_symlink():
            raise NotADirectoryError(0, "it is a link", str(self._folder))
        pictures = [bottle.sample_to_plain(sample) for sample in batch]
        state, is_whole = self._content(failure)
        needed = bottle.num_bytes([state])
        if bottle.num_bytes(pictures) > _MOST_PICTURES:
            pictures = []  # they are loaded again
        needed += bottle.num_bytes(pictures)
        self._check_room(needed)
        self._writing.mkdir(parents=True, exist_ok=True)
        torch.save(state, self._writing / bottle.STATE)
        if pictures:
            torch.save(pictures, self._writing / bottle.BATCH)
        options = replace(self._plan.config.with_absolute_places(), name=None, resume=None)
        write_toml(options, self._writing / bottle.CONFIG)
        files = sorted(each for each in self._writing.iterdir() if each.name != bottle.BOTTLE)
        document = self._document(failure, batch, is_whole) | {"files": {each.name: checksum(each) for each in files}}
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (self._writing / bottle.BOTTLE).write_text(text, encoding="utf-8", errors="replace")
        for each in (*files, self._writing / bottle.BOTTLE):
            flush_to_disk(each)
        self._writing.replace(path)

    def _check_room(self, needed: int) -> None:
        """Leave room on the disk for what the run itself will write.

        Raises:
            DeviceError: There is too little.
        """
        last = self._plan.run / LAST
        room = shutil.disk_usage(self._folder.parent).free
        if room < needed + _SPARE + (2 * last.stat().st_size if last.exists() else 0):
            raise DeviceError(f"it takes {format_bytes(needed)}, and {format_bytes(room)} are free on the disk")

    def _content(self, failure: StepFailure) -> tuple[dict[str, Any], bool]:
        """The state of the step, and whether the weights are in it."""
        state, before = self._state, self._before
        assert before is not None
        content: dict[str, Any] = {
            "random": before.random,
            "scaler": before.scaler,
            "teaching": before.teaching,
            "average_updates": state.average.updates,
        }
        weights = {"model": state.module.state_dict()}
        if self._plan.unlabelled is not None:  # the teacher is the average
            weights["average"] = state.average.state
        if failure.phase == "optimiser":
            weights["optimizer"] = state.optimizer.state_dict()
        is_whole = bottle.num_bytes([weights]) <= _MOST_WEIGHTS
        return content | (weights if is_whole else {}), is_whole

    def _document(self, failure: StepFailure, batch: Sequence[Sample], is_whole: bool) -> dict[str, Any]:
        plan, state, ranks = self._plan, self._state, self._ranks
        norm = failure.grad_norm
        return {
            "format": bottle.FORMAT,
            "step": state.step + 1,
            "rank": ranks.rank,
            "ranks": ranks.world_size,
            "kind": failure.kind,
            "phase": failure.phase,
            "message": failure.message,
            "traceback": failure.trace,
            "losses": bottle.to_json(failure.losses),
            "grad_norm": None if norm is None else bottle.number_to_json(norm),
            "batch": plan.batch,
            "micro_batch": state.micro_batch,
            "lr": state.optimizer.param_groups[0]["lr"],
            "precision": str(plan.dtype).removeprefix("torch."),
            "learns": [name for name, value in state.module.named_parameters() if value.requires_grad],
            "weights": "state.pt" if is_whole else f"{LAST} of the run, after step {state.step}",
            "images": [bottle.describe(sample) for sample in batch],
            "memory": self._memory(batch),
            "card": plan.card.to_plain(),
            "data": plan.data,
            "device": device_name(ranks.device),
            "threads": torch.get_num_threads(),
            "versions": {"segkit": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }

    def _memory(self, batch: Sequence[Sample]) -> dict[str, int]:
        """Bytes by category; on a GPU also the allocator's figures when memory ran out."""
        state = self._state
        trainable = [p for p in state.module.parameters() if p.requires_grad]
        known = {
            "parameters": bottle.num_bytes(list(state.module.parameters())),
            "buffers": bottle.num_bytes(list(state.module.buffers())),
            "gradients": bottle.num_bytes(trainable),
            "optimiser state": bottle.num_bytes([list(each.values()) for each in state.optimizer.state.values()]),
            "averaged weights": bottle.num_bytes([state.average.state]),
            "pictures": bottle.num_bytes([bottle.sample_to_plain(sample) for sample in batch]),
        }
        figures = dict(self._figures)
        if figures:
            figures["activations and the rest"] = max(0, figures["allocated"] - sum(known.values()))
        return known | figures | {"rss": resident()}
