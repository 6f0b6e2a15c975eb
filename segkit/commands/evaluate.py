"""``segkit eval``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.evaluate import EvalConfig
from segkit.errors import DONE


@configured_by(EvalConfig)
def evaluate(config: EvalConfig, output: Output) -> int:
    """Evaluate a model, any tool's COCO results, or a second annotator, with the metrics of pycocotools.

    [bold]Example:[/bold]  segkit eval runs/latest --data dataset --report
    """
    from segkit.commands.render.scores import render_evaluation
    from segkit.inference.evaluate import evaluate

    summary = evaluate(config, output.progress())
    render_evaluation(summary, output)
    if summary.refused_promise is not None:
        raise summary.refused_promise
    return DONE
