"""What a training will need, said before its first step and kept: for training, for validation and for prediction.

The figures are bytes of tensors, from steps on fake tensors (``segkit.training.rehearsal``), of the worst batch that
the dataset allows. A GPU needs some more: for its context, and for what is lost between blocks.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from segkit.errors import DeviceError, SegkitError
from segkit.progress import Progress
from segkit.runtime.ranks import Ranks
from segkit.training.micro_batch import SHARE, most_that_fits
from segkit.training.plan import Plan
from segkit.training.rehearsal.batches import Shape, largest_to_evaluate, largest_to_predict, scenes_of
from segkit.training.rehearsal.rehearsal import Rehearsal
from segkit.training.state import TrainingState
from segkit.units import format_bytes

_LEAST_STEPS = 100  # of a run on a CPU: a rehearsal takes as long as some steps
_OF_TRAINING = ("gradients", "optimiser state", "averaged weights", "teacher", "labels alone")
_HINT = "a smaller --max-size, or cut the images into tiles"


@dataclass(frozen=True, slots=True)
class Contract:
    """What a training will need at most, in bytes of tensors.

    Attributes:
        training: A step with the worst batch.
        validation: An evaluation between steps; None without a validation split.
        prediction: The trained model alone, on the largest image of the dataset.
        picture: The image that the worst batch is made of.
        instances: How many instances it has.
        micro_batch: Images that go through the model at once in training.
        validated_at_once: Likewise in an evaluation: as many as need no more than training.
        vram: The budget of ``--vram``.
    """

    training: int
    validation: int | None
    prediction: int
    picture: str
    instances: int
    micro_batch: int
    validated_at_once: int
    vram: int | None

    def describe(self) -> str:
        """The contract in a line."""
        instances = f" with {self.instances} instance{'' if self.instances == 1 else 's'}" if self.instances else ""
        validation = "" if self.validation is None else f"validation {format_bytes(self.validation)}, "
        return (
            f"memory at most: training {format_bytes(self.training)}, {validation}"
            f"prediction {format_bytes(self.prediction)} (tensors); the worst picture is {self.picture}{instances}"
        )

    def to_json(self) -> dict[str, Any]:
        """What ``origin.json`` says of it."""
        return asdict(self)


def agree_on_contract(plan: Plan, state: TrainingState, ranks: Ranks, progress: Progress) -> Contract | None:
    """State what a run will need, and let evaluations need no more than training; alike on all ranks.

    Returns:
        The contract; None for a short run on a CPU without ``--vram`` and ``--micro-batch auto``, and where nothing can
        be rehearsed.

    Raises:
        DeviceError: On all ranks: with ``--vram``, not even one image can be validated within it. On a CPU, whose
            memory it does not limit, that is a warning.
    """
    config = plan.config
    long = plan.total_steps is None or plan.total_steps - state.step >= _LEAST_STEPS
    if not (long or ranks.device.type == "cuda" or config.vram is not None or config.micro_batch == "auto"):
        return None
    found: Contract | None = None
    failure: SegkitError | None = None
    if ranks.is_main:
        try:
            found = _rehearse(plan, state.micro_batch, ranks)
        except SegkitError as error:
            failure = error
        except Exception as error:  # a rehearsal must not end what could run
            why = next(iter(str(error).splitlines()), type(error).__name__)
            progress.note(f"warning: what the run will need could not be rehearsed: {why}")
    ranks.raise_together(failure)
    found = ranks.gather(found)[0]
    if found is not None:
        state.validated_at_once = found.validated_at_once
        progress.note(found.describe())
        if warning := _warning(found):
            progress.note(warning)
    return found


def kept(contract: Contract | None, peaks: Mapping[str, int]) -> dict[str, Any] | None:
    """What was needed beside what was said, in bytes, for the summary; None where neither is known.

    Args:
        contract: What was said before the first step.
        peaks: The highest bytes of tensors by phase, as a GPU's allocator counted them.
    """
    steps = [size for name, size in peaks.items() if name not in ("eval", "save")]
    needed = {"training": max(steps, default=None), "validation": peaks.get("eval")}
    if contract is None and not peaks:
        return None
    said = None if contract is None else contract.to_json()
    return {"said": said, "needed": needed if peaks else None}


def _warning(contract: Contract) -> str | None:
    """What is tight, in a sentence."""
    if contract.vram is not None and contract.training > SHARE * contract.vram:
        return (
            f"warning: the worst batch takes more than --vram {format_bytes(contract.vram)}: where memory runs out, "
            "fewer pictures go through the model at once; --micro-batch auto chooses as many as fit"
        )
    if contract.vram is not None and (contract.validation or 0) > SHARE * contract.vram:
        return (
            f"warning: validation takes more than --vram {format_bytes(contract.vram)}, one picture at a time: {_HINT}"
        )
    if contract.validation is not None and contract.validation > contract.training:
        return "warning: validation takes more than training: its largest picture is larger than what is trained on"
    return None


def _rehearse(plan: Plan, micro_batch: int, ranks: Ranks) -> Contract:
    """Rehearse a step and evaluations.

    Raises:
        DeviceError: Not even one image can be validated within ``--vram``.
    """
    share = plan.batch // ranks.world_size
    scene = scenes_of(plan, min(share, 2 * micro_batch))[-1]
    largest = largest_to_evaluate(plan)
    devices = [ranks.device] if ranks.device.type == "cuda" else []
    as_cuda = ranks.device.type == "cuda"
    with (
        torch.random.fork_rng(devices),
        Rehearsal(plan, micro_batch, as_cuda=as_cuda, ranks=ranks.world_size) as rehearsal,
    ):
        training = rehearsal.step(scene).allocated
        vram = plan.config.vram
        budget = training if vram is None else min(training, int(SHARE * vram))
        needs: dict[int, int] = {}

        def fits(count: int) -> bool:
            needs[count] = rehearsal.evaluate(largest[0], count).allocated
            return needs[count] <= budget

        at_once = (most_that_fits(micro_batch, fits) or 1) if largest else micro_batch
        if largest and vram is not None and as_cuda and needs[at_once] > SHARE * vram:
            raise DeviceError(_too_large(largest[0], needs[at_once], vram), _HINT)
        alone = rehearsal.evaluate(largest_to_predict(plan)).by_category
    return Contract(
        training=training,
        validation=needs[at_once] if largest else None,
        prediction=sum(size for name, size in alone.items() if name.partition(", ")[0] not in _OF_TRAINING),
        picture=scene.heaviest.name,
        instances=scene.heaviest.instances,
        micro_batch=micro_batch,
        validated_at_once=at_once,
        vram=vram,
    )


def _too_large(shape: Shape, needed: int, vram: int) -> str:
    return (
        f"validation would take {format_bytes(needed)} for {shape.name} alone ({shape.height}x{shape.width} as the "
        f"model gets it), more than --vram {format_bytes(vram)}"
    )
