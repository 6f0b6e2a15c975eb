"""``segkit eval``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.evaluate import EvalConfig
from segkit.errors import DONE


@configured_by(EvalConfig)
def evaluate(config: EvalConfig, output: Output) -> int:
    """Score a model, or any tool's COCO results, with the numbers that everyone can check.

    [bold]Example:[/bold]  segkit eval runs/latest --data dataset
    """
    from segkit.commands.render_models import render_evaluation
    from segkit.evaluate.files import evaluate_results, is_results, write_metrics

    if is_results(config.subject):
        metrics, folder = evaluate_results(config)
    else:
        from segkit.evaluating import evaluate_model

        metrics, folder = evaluate_model(config, output.progress())
    render_evaluation(metrics, write_metrics(metrics, folder), output)
    return DONE
