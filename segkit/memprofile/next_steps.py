"""What to do after a memory profile: sentences with commands that can be copied."""

import shlex
from collections.abc import Collection, Iterator
from typing import Any

from segkit.config.fields import words_of
from segkit.config.memprofile import LEAST_VRAM, MemprofileConfig
from segkit.memory.holders.survival import STEPS_NEEDED
from segkit.next_step import NextStep
from segkit.units import counted, format_bytes

_MOST = 0.4  # of the peak: a smaller part is not worth a sentence
_SAVES = {
    "parameters": "a smaller model saves",
    "gradients": "a smaller model, or fewer trained layers, save",
    "optimizer_state": "a smaller model saves, and an optimiser with less state (SGD keeps one value for a parameter, "
    "Adam two)",
    "activations": "a smaller batch or smaller images save, and so do torch.autocast (bfloat16) and "
    "torch.utils.checkpoint",
    "inputs": "a smaller batch or smaller images save",
    "temporaries": "a smaller batch or smaller images save",
}


def next_steps(config: MemprofileConfig, document: dict[str, Any]) -> list[NextStep]:
    """What a profile suggests: what to mend, how to become sure, what would need less memory.

    Args:
        config: The options of the profile.
        document: Its report.
    """
    if config.explain is not None:
        return list(_of_recording(document))
    own = config.script is None
    return list(_of_own(config, document) if own else _of_script(config, document))


def _of_recording(document: dict[str, Any]) -> Iterator[NextStep]:
    """A recording is of another time: only its script is known, if it says so."""
    script = shlex.join(map(str, document.get("command") or [])) or "SCRIPT"
    if document["verdict"] == "snapshot":
        yield NextStep("Find what holds the memory: measure the script itself.", f"segkit memprofile -- {script}")
    elif document["leaks"]:
        yield _mend(document)
        yield NextStep("Then measure again.", f"segkit memprofile -- {script}")


def _of_script(config: MemprofileConfig, document: dict[str, Any]) -> Iterator[NextStep]:
    verdict, again = document["verdict"], _command(config)
    if verdict == "leak":
        yield _mend(document)
        yield NextStep("Then measure again: the verdict is clean when nothing is kept any more.", again)
        return
    if verdict in ("watch", "inconclusive"):
        steps, wanted = document["steps"], max(STEPS_NEEDED, 2 * document["steps"])
        if config.steps is None or steps < config.steps:
            why = f"Let the script make {wanted} steps or more ({steps} were seen), and measure again."
            yield NextStep(why, _command(config, without={"steps"}))
        else:
            yield NextStep("Measure more steps, to be sure.", _command(config, steps=wanted))
    yield from _largest_part(document)


def _of_own(config: MemprofileConfig, document: dict[str, Any]) -> Iterator[NextStep]:
    """Of segkit's own training, for which there is an estimate of what each option saves."""
    if document["verdict"] == "leak":
        why = "segkit's own training should keep nothing: please report this, with memory.json and what this prints."
        yield NextStep(why, "segkit doctor --report")
    elif document["verdict"] in ("watch", "inconclusive"):
        wanted = max(STEPS_NEEDED, 2 * document["steps"])
        yield NextStep("Measure more steps, to be sure.", _command(config, steps=wanted))
    estimate = shlex.join(["segkit", "memprofile", *(config.target or ()), "--fit"])
    if config.limit is not None and LEAST_VRAM <= config.limit < document["peak"]["allocated"]:
        why = f"The peak is above {format_bytes(config.limit)}: see which options make it fit."
        yield NextStep(why, f"{estimate} --vram {config.limit}")
    else:
        yield NextStep("See on which GPUs the training fits, and what each option saves there.", estimate)


def _mend(document: dict[str, Any]) -> NextStep:
    """What grows fastest comes first; the report says how."""
    first, others = document["leaks"][0], len(document["leaks"]) - 1
    place = first.get("stored_at") or first.get("allocated_at") or "the script"
    more = f", then {counted(others, 'further one', 'further ones')} that the report names" if others else ""
    return NextStep(f"Change {place} as its fix says{more}.")


def _largest_part(document: dict[str, Any]) -> Iterator[NextStep]:
    """What would save most, where one part is most of the peak."""
    peak, parts = document["peak"]["allocated"], document.get("categories") or {}
    known = {name: size for name, size in parts.items() if name in _SAVES}
    name = max(known, key=lambda each: known[each], default=None)
    if name is not None and known[name] >= _MOST * peak:
        what = name.replace("_", " ").replace("optimizer", "optimiser")
        share = f"{format_bytes(known[name])} of {format_bytes(peak)}"
        yield NextStep(f"If memory is short: most of the peak is {what} ({share}), so {_SAVES[name]} most.")


def _command(config: MemprofileConfig, steps: int | None = None, without: Collection[str] = ()) -> str:
    """The command of this profile again, with another number of steps or without some options."""
    given = config.given_options().difference(without) - ({"steps"} if steps is not None else set())
    words = ["segkit", "memprofile", *([] if config.script is not None else config.target or ())]
    words += words_of(config, given) + ([] if steps is None else ["--steps", str(steps)])
    return shlex.join([*words, *(["--", *config.script] if config.script is not None else [])])
