"""How near rehearsed steps come to real ones: peaks on a CPU, over two dozen trainings.

    python benchmarks/fit.py [--first 3]

For each: the peak that segkit's own tracker measures in real steps on the heaviest batches; the peak of the same steps
on fake tensors with the sizes that came out of the real ones; and the bound. A table in Markdown on stdout.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from real_steps import CONFIGURATIONS, dataset_of, plan_of, real_steps, rehearsed_steps

from segkit.training.rehearsal.batches import scenes_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=len(CONFIGURATIONS), help="so many of the trainings alone")
    asked = parser.parse_args()
    print("| pictures (h, w, instances) | options | real peak, MB | rehearsed | bound | real, s | rehearsed, s |")
    print("|---|---|---|---|---|---|---|")
    for pictures, options in CONFIGURATIONS[: asked.first]:
        plan = plan_of(dataset_of(*pictures), **options)
        scenes = scenes_of(plan, plan.batch)
        micro = plan.config.micro_batch
        began = time.process_time()
        real = real_steps(plan, scenes, micro)
        middle = time.process_time()
        rehearsed = rehearsed_steps(plan, scenes, micro, real.sizes)
        end = time.process_time()
        bound = rehearsed_steps(plan, scenes, micro)[-1]
        worst = max(abs(b / a - 1) for a, b in zip(real.peaks, rehearsed, strict=True))
        words = ", ".join(f"{name} {value}" for name, value in options.items())
        print(
            f"| {', '.join(str(picture) for picture in pictures)} | {words} | {max(real.peaks) / 1e6:.1f} | "
            f"{100 * worst:.3f} % | {100 * (bound / max(real.peaks) - 1):+.2f} % | {middle - began:.0f} | "
            f"{end - middle:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
