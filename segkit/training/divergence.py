"""Whether a model still computes numbers: a run ends when its loss, its weights or its outputs are not finite."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit.errors import DeviceError, SegkitError
from segkit.inference.batches import BatchPredictor
from segkit.models.adapt import body_of
from segkit.progress import NotesOnly, Progress
from segkit.runtime.ranks import Ranks
from segkit.training.shards import local
from segkit.training.state import MOST_NONFINITE, TrainingState
from segkit.training.step import Training

_HINT = "start again with a smaller --lr, or --precision fp32"
_SIDE = 64  # pixels of the image that a model is tried on


def stop_after_nonfinite_steps(state: TrainingState, images: Sequence[str], ranks: Ranks) -> None:
    """End a run in which too many steps in a row had no finite loss.

    Raises:
        SegkitError: On all ranks; the message names the images of the last step.
    """
    if state.skipped_in_a_row >= MOST_NONFINITE:
        names = ", ".join(name for part in ranks.gather(images) for name in part)
        ranks.raise_together(
            SegkitError(f"loss or gradients were not finite {MOST_NONFINITE} steps in a row, last on {names}", _HINT)
        )


def stop_without_finite_steps(training: Training) -> None:
    """End a run that is over and of which most steps were skipped.

    Raises:
        SegkitError: On all ranks.
    """
    state = training.state
    # The loss scale of fp16 is found by steps that are skipped, until one is not.
    searches = state.scaler.is_enabled() and not state.skipped_in_a_row
    if not state.step or 2 * state.skipped <= state.step or searches:
        return
    learnt = "the model has learnt nothing" if state.skipped == state.step else "the model has hardly learnt"
    how_many = "any" if state.skipped == state.step else str(state.skipped)
    state.broken = state.skipped_in_a_row > 0
    training.ranks.raise_together(
        SegkitError(f"loss or gradients were not finite in {how_many} of {state.step} steps: {learnt}", _HINT)
    )


def stop_without_finite_outputs(training: Training, module: nn.Module) -> None:
    """End a run whose model gives no numbers any more: it would be scored 0, and kept as the best one.

    Args:
        training: The training; all ranks have the same weights.
        module: Its model in evaluation mode, with the weights that are scored.

    Raises:
        SegkitError: On all ranks; a DeviceError where memory ran out.
    """
    failure: SegkitError | None = None
    try:
        if not has_finite_outputs(module, training.ranks.device, training.progress):
            training.state.broken = True
            failure = SegkitError(
                f"the outputs of the model are not finite after step {training.state.step}: it has diverged", _HINT
            )
    except DeviceError as error:
        failure = error
    training.ranks.raise_together(failure)


@torch.no_grad()
def has_finite_outputs(module: nn.Module, device: torch.device, progress: Progress) -> bool:
    """Whether all layers of a model give numbers for an image of noise.

    Args:
        module: In evaluation mode.
        device: Where it computes.
        progress: Is told when memory runs out and the image is tried once more.

    Raises:
        DeviceError: There is not even memory for this image.
    """
    finite: list[Tensor] = []

    def look(_layer: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            finite.append(output.isfinite().all())

    channels = next(layer.in_channels for layer in body_of(module).modules() if isinstance(layer, nn.Conv2d))
    noise = torch.randint(256, (channels, _SIDE, _SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    hooks = [layer.register_forward_hook(look) for layer in module.modules() if not any(layer.children())]
    try:
        BatchPredictor(module, device, 1, NotesOnly(progress), "trying the model on")([noise], ["noise"])
    finally:
        for hook in hooks:
            hook.remove()
    return bool(torch.stack(finite).all())


def has_finite_weights(state: TrainingState, ranks: Ranks) -> bool:
    """Whether all weights that a checkpoint would hold are numbers; every rank must call this."""
    values = [local(value) for value in (*state.module.state_dict().values(), *state.weights().values())]
    finite = torch.stack([value.isfinite().all() for value in values if value.is_floating_point()]).all()
    return ranks.sum([not finite])[0] == 0
