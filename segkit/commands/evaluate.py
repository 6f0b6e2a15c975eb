"""``segkit eval``."""

from dataclasses import replace
from typing import TYPE_CHECKING

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.evaluate import EvalConfig
from segkit.errors import DONE, InputError

if TYPE_CHECKING:
    from segkit.evaluation.evaluation import Evaluation


@configured_by(EvalConfig)
def evaluate(config: EvalConfig, output: Output) -> int:
    """Evaluate a model, any tool's COCO results, or a second annotator, with the metrics of pycocotools.

    [bold]Example:[/bold]  segkit eval runs/latest --data dataset --report
    """
    from segkit.commands.render.scores import render_evaluation
    from segkit.evaluation.report.write import write_evaluation
    from segkit.review.annotators import check_options_of_annotator, is_annotator

    people = is_annotator(config.subject)
    if people:
        check_options_of_annotator(config)
    for flag in config.unused_options():
        if people and flag == "--images-dir":  # the pictures tell which annotations belong together
            continue
        output.note(f"warning: {flag} has no effect without --details, --report or --compare")
    config.check_split()
    _check_compared(config, output)
    first = _evaluation_of(config, output)
    second = None
    if config.compare is not None:  # both are scored on the same annotations, also where each run has its own
        second = _evaluation_of(replace(config, subject=config.compare, data=first.truth), output)
    metrics, files = write_evaluation(config, first, second, output.progress())
    render_evaluation(metrics, files, output)
    if metrics.promise is not None and "refused" in metrics.promise:
        raise InputError(metrics.promise["refused"], metrics.promise["hint"])
    return DONE


def _check_compared(config: EvalConfig, output: Output) -> None:
    """Refuse what cannot be compared before an evaluation that may take long."""
    from segkit.evaluation.results_file import is_results
    from segkit.formats.coco.file import read_results

    if config.compare is None:
        return
    if is_results(config.compare):
        read_results(config.compare)
        return
    output.before_pytorch()
    from segkit.inference.evaluate import check_compared

    check_compared(config)


def _evaluation_of(config: EvalConfig, output: Output) -> "Evaluation":
    """Metrics of a results file, without importing torch, or of a model."""
    from segkit.evaluation.provenance import with_provenance
    from segkit.evaluation.results_file import evaluate_results, is_results
    from segkit.review.annotators import evaluate_annotator, is_annotator

    if is_annotator(config.subject):
        return with_provenance(config, evaluate_annotator(config, output.progress()))
    if is_results(config.subject):
        if config.vram is not None:
            output.note("warning: --vram has no effect: results are scored, and no model runs")
        return with_provenance(config, evaluate_results(config))
    output.before_pytorch()
    from segkit.inference.evaluate import evaluate_model

    return with_provenance(config, evaluate_model(config, output.progress()))
