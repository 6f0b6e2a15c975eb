"""What to do after a curve of labels: sentences with commands that can be copied."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segkit.next_step import PICTURES, NextStep

_LEAST_GAIN = 0.01  # of a score: what is less is not worth twice the annotation


def next_steps(folder: Path, document: dict[str, Any], seeds: int) -> list[NextStep]:
    """What a curve suggests: annotate more, look at the errors instead, or make more runs first.

    Args:
        folder: Of the curve.
        document: The curve.
        seeds: Runs on each part of the labels.
    """
    return list(_steps(folder, document, seeds)) if "now" in document else []


def _steps(folder: Path, document: dict[str, Any], seeds: int) -> Iterator[NextStep]:
    best = max((point for point in document["points"] if point["share"] == 1), key=lambda point: point["score"])
    run = shlex.quote(str(folder / f"8of8-seed{best['seed']}"))
    now, twice, ends = document["now"], document["twice"], document["interval"]
    if ends is None or ends[0] <= now <= ends[1]:
        again = shlex.join(["segkit", "train", "--config", str(folder / "config.toml"), "--out", str(folder.parent)])
        why = "The scores do not tell whether more labels help: their spread is as large. More runs may tell."
        yield NextStep(why, f"{again} --curve-seeds {seeds + 2}")
    if twice - now >= _LEAST_GAIN:
        most = document["gains_most"]
        of = f" Those with {most!r} count most." if most is not None and len(document["gains"]) > 1 else ""
        yield NextStep(
            f"Annotate more, of the pictures in your folder {PICTURES}: twice as many labels give about "
            f"{twice - now:+.3f}.{of}",
            f"segkit label {PICTURES} --next 20 --model {run}",
        )
    else:
        yield NextStep(
            f"Twice as many labels of the same kind give about {twice - now:+.3f}: look first at what is wrong.",
            f"segkit eval {run} --report",
        )
    yield NextStep("Predict with the best run of all labels.", f"segkit predict {PICTURES} --model {run}")
