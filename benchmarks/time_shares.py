"""How much of a run's time its evaluations and checkpoints take: at most a tenth each is what segkit aims at.

    python benchmarks/time_shares.py DATASET... [--seconds 240 | --steps 40] [--model unet]

Each run is ``segkit train DATASET --weights none --device cpu`` with all other options at their defaults, by the wall
clock. The first evaluation and the last one, which are never left out, are counted with the others. A line for each.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segkit.config.train import TrainConfig
from segkit.training import train as training
from segkit.training import validation


def timed(spent: dict[str, list[float]], name: str, function: Callable[..., None]) -> Callable[..., None]:
    """The function, whose seconds are added to a list."""

    def measured(*arguments: Any, **more: Any) -> None:
        began = time.monotonic()
        try:
            function(*arguments, **more)
        finally:
            spent.setdefault(name, []).append(time.monotonic() - began)

    return measured


def shares(config: TrainConfig) -> dict[str, Any]:
    """A run, and the shares of its evaluations and checkpoints; ``best.pt``, saved in an evaluation, counts in both."""
    spent: dict[str, list[float]] = {"evaluations": [], "checkpoints": []}
    own = training.validate, validation.save_checkpoint
    training.validate = timed(spent, "evaluations", own[0])
    validation.save_checkpoint = timed(spent, "checkpoints", own[1])
    try:
        summary = training.train(config)
    finally:
        training.validate, validation.save_checkpoint = own
    line: dict[str, Any] = {"set": config.dataset.name, "steps": summary.steps, "seconds": round(summary.seconds, 1)}
    for name, seconds in spent.items():
        line[name] = {"count": len(seconds), "share": round(sum(seconds) / summary.seconds, 3)}
    return line


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--model", default="maskrcnn")
    asked = parser.parse_args()
    limit = {"steps": asked.steps} if asked.steps else {"time": asked.seconds}
    with tempfile.TemporaryDirectory(prefix="time-shares-") as out:
        for dataset in asked.datasets:
            config = TrainConfig(
                dataset=dataset, weights="none", device="cpu", out=Path(out), model=asked.model, **limit
            )
            print(json.dumps({"model": asked.model, **shares(config)}), flush=True)


if __name__ == "__main__":
    main()
