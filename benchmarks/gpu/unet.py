"""A step of a U-Net on crops of 512: time, memory and synchronisations."""

from data import draw_dataset
from results import Stage, stage
from training import train_run

CASES = {
    "resnet18, batch 8, bf16": {"backbone": "resnet18", "batch": 8, "precision": "bf16"},
    "resnet50, batch 16, bf16": {"backbone": "resnet50", "batch": 16, "precision": "bf16"},
    "resnet18, batch 8, fp32": {"backbone": "resnet18", "batch": 8, "precision": "fp32"},
}
TINY = {"resnet18, batch 2": {"backbone": "resnet18", "batch": 2}}


def measure(running: Stage) -> None:
    """Every case once, and the first again to count synchronisations."""
    side = 768 if not running.rehearse else 96
    dataset = draw_dataset(running.folder / "data", images=16, height=side, width=side, instances=10)
    cases = CASES if not running.rehearse else TINY
    shared = {"model": "unet", "size": 512 if not running.rehearse else 64, "device": running.device}
    for name, options in cases.items():
        with running.case(name) as figures:
            steps = 25 if not running.rehearse else 2
            figures |= train_run(dataset, running.folder / "runs", steps=steps, **shared, **options).figures()
    name, options = next(iter(cases.items()))
    with running.case(f"synchronisations, {name}") as figures:
        run = train_run(dataset, running.folder / "runs", count_syncs=True, steps=3, **shared, **options)
        figures |= {"syncs_per_step": run.steps[-1]["syncs"], "sync_lines": dict(run.syncs.lines.most_common(12))}


if __name__ == "__main__":
    with stage("unet") as running:
        measure(running)
