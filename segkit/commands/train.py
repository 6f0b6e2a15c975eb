"""``segkit train``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.train import TrainConfig
from segkit.errors import DONE, INTERRUPTED


@configured_by(TrainConfig)
def train(config: TrainConfig, output: Output) -> int:
    """Train an instance segmentation model on a COCO dataset.

    [bold]Example:[/bold]  segkit train dataset --gpus 0,1 --time 2h
    """
    output.before_pytorch()
    from segkit.commands.render.models import render_label_curve, render_training
    from segkit.training.label_curve.curve import is_curve, train_curve
    from segkit.training.train import train

    if is_curve(config):
        curve = train_curve(config, output.progress())
        render_label_curve(curve, output)
        return INTERRUPTED if curve.interrupted else DONE
    summary = train(config, output.progress())
    if summary.is_main:
        render_training(summary, output)
    return INTERRUPTED if summary.ended == "interrupted" else DONE
