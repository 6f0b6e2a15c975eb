"""``eval``: of a model, of results of any tool, or of a second annotator; alone, or beside another one."""

from dataclasses import replace

from segkit.config.evaluate import EvalConfig
from segkit.evaluation.evaluation import Evaluation, EvaluationSummary
from segkit.evaluation.provenance import with_provenance
from segkit.evaluation.report.write import write_evaluation
from segkit.evaluation.results_file import evaluate_results, is_results
from segkit.formats.coco.file import read_results
from segkit.inference.annotators import check_options_of_annotator, evaluate_annotator, is_annotator
from segkit.progress import SILENT, Progress
from segkit.runtime.address_space import warn_of_limit


def evaluate(config: EvalConfig, progress: Progress = SILENT) -> EvaluationSummary:
    """Evaluate, and write the files of the evaluation.

    Results and annotations are scored without PyTorch.

    Args:
        config: The options.
        progress: Shows how far it is.

    Raises:
        InputError: There is no such model or data, or they do not go together.
        ConfigError: The options do not go with what is evaluated.
        DeviceError: A single image needs more memory than there is.
    """
    people = is_annotator(config.subject)
    if people:
        check_options_of_annotator(config)
    for flag in config.unused_options():
        if people and flag == "--images-dir":  # the pictures tell which annotations belong together
            continue
        progress.note(f"warning: {flag} has no effect without --details, --report or --compare")
    config.check_split()
    _check_compared(config, progress)
    first = _evaluation_of(config, progress)
    second = None
    if config.compare is not None:  # both are scored on the same annotations, also where each run has its own
        second = _evaluation_of(replace(config, subject=config.compare, data=first.truth), progress)
    metrics, files = write_evaluation(config, first, second, progress)
    return EvaluationSummary(metrics, tuple(files))


def _check_compared(config: EvalConfig, progress: Progress) -> None:
    """Refuse what cannot be compared before an evaluation that may take long."""
    if config.compare is None:
        return
    if is_results(config.compare):
        read_results(config.compare)
        return
    warn_of_limit(progress)
    from segkit.inference.evaluate_model import check_compared  # noqa: PLC0415 -- a model may need PyTorch

    check_compared(config)


def _evaluation_of(config: EvalConfig, progress: Progress) -> Evaluation:
    """Metrics of annotations, of a results file, or of a model."""
    if is_annotator(config.subject):
        return with_provenance(config, evaluate_annotator(config, progress))
    if is_results(config.subject):
        if config.vram is not None:
            progress.note("warning: --vram has no effect: results are scored, and no model runs")
        return with_provenance(config, evaluate_results(config))
    warn_of_limit(progress)
    from segkit.inference.evaluate_model import evaluate_model  # noqa: PLC0415 -- likewise

    return with_provenance(config, evaluate_model(config, progress))
