"""A step that really runs out of memory: it is repeated with fewer pictures at once, and the losses stay the same."""

from data import draw_dataset
from results import Stage, gib, stage
from training import loss_difference, train_run

TOLERANCE = 5e-2  # relative, over all steps: other convolutions for other batches, and so other proposals
CASES = {"Mask R-CNN": {"backbone": "resnet50", "size": 800, "max_size": 1333, "batch": 8}}
TINY = {"U-Net": {"model": "unet", "backbone": "resnet18", "size": 64, "batch": 2}}


def measure(running: Stage) -> None:
    """Train without a limit, and with one that the whole batch does not fit into."""
    height, width = (800, 1333) if not running.rehearse else (96, 128)
    dataset = draw_dataset(running.folder / "data", images=8, height=height, width=width, instances=8)
    steps = 4 if not running.rehearse else 1
    for name, options in (CASES if not running.rehearse else TINY).items():
        shared = options | {"steps": steps, "device": running.device, "optimizer": "sgd", "lr": 1e-4}
        shared |= {"norm": "group", "precision": "fp32"}
        with running.case(name) as figures:
            whole = train_run(dataset, running.folder / "runs", **shared)
            peak = whole.most("peak")
            # A CPU has no limit: there the dry run takes the smaller micro-batch from the start.
            less = {"vram": int(0.6 * peak)} if peak else {"micro_batch": 1}
            limited = train_run(dataset, running.folder / "runs", **shared, **less)
            difference = loss_difference(limited, whole)
            figures |= {
                "limit_gib": gib(less.get("vram")), "reserved_gib": gib(limited.most("reserved")),
                "micro_batch": limited.steps[-1]["micro_batch"], "steps": len(limited.steps),
                "largest_relative_difference_of_losses": difference,
            }  # fmt: skip
            if limited.steps[-1]["micro_batch"] >= options["batch"]:
                raise SystemExit("the limit was not felt")
            if difference > TOLERANCE:
                raise SystemExit(f"losses differ by {difference:.2e}")


if __name__ == "__main__":
    with stage("oom") as running:
        measure(running)
