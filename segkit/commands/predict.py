"""``segkit predict``."""

import sys

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.predict import PredictConfig
from segkit.errors import DONE, FAILED, RESTART


@configured_by(PredictConfig)
def predict(config: PredictConfig, output: Output) -> int:
    """Predict instances in images; write overlays, COCO results, LabelMe files, masks or CSV.

    [bold]Example:[/bold]  segkit predict new-images/ --format overlay,labelme
    """
    output.before_pytorch()
    from segkit.commands.render.models import render_prediction
    from segkit.inference.predict import predict

    summary = predict(config, output.progress(), output.json, sys.stdin)
    if summary.is_main:
        render_prediction(summary, output)
    if summary.limit is not None:
        output.error(summary.limit)
        return RESTART
    return FAILED if summary.failed else DONE
