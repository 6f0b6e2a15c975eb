"""A step that was run again -> lines or JSON on stdout."""

from typing import TYPE_CHECKING

from segkit.commands.output import Output, shown

if TYPE_CHECKING:
    from segkit.training.failures.replay import Replay

_MOST_LINES = 12  # of a traceback


def render_replay(replay: "Replay", output: Output) -> None:
    """What the step gave then and now."""
    output = output.answering()
    output.json(replay.to_json())
    then, now = replay.bottle.document, replay.attempt
    pictures = [entry["file"] for entry in then["images"]]
    more = f" and {len(pictures) - 4} more" if len(pictures) > 4 else ""
    output.show(shown(f"step {then['step']}: {', '.join(pictures[:4])}{more}"))
    output.show(shown(f"then, on {then['device']}: {_failed(then['kind'], then['message'])}"))
    outcome = _failed(now.kind, now.message) if now.kind is not None else "runs through"
    now_said = shown(f"now, on {replay.device}: {outcome}")
    output.show(now_said)
    output.gist(now_said)
    if now.losses is not None:
        norm = "" if now.grad_norm is None else f", gradient norm {now.grad_norm:.6g}"
        output.show(shown(", ".join(f"{name} {value:.6g}" for name, value in now.losses.items()) + norm))
    if replay.equal is not None:
        output.show("the losses are those of then, to the last bit" if replay.equal else "the losses differ from then")
    if now.layer is not None:
        output.show(shown(f"the first layer that makes values that are not finite: {now.layer}"))
    if now.trace is not None:
        for line in now.trace.rstrip().splitlines()[-_MOST_LINES:]:
            output.show(shown(line))
    if replay.smallest is not None:
        output.show(shown(f"the smallest part that still fails: {', '.join(replay.smallest)}"))


def _failed(kind: str, message: str) -> str:
    """What failed, without saying it twice."""
    return message if message.startswith(kind) else f"{kind}: {message}"
