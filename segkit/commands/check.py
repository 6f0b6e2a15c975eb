"""``segkit check``."""

from pathlib import Path

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.check import CheckConfig
from segkit.errors import DONE, FINDINGS


@configured_by(CheckConfig)
def check(config: CheckConfig, output: Output) -> int:
    """Check annotations before training: outlines, duplicates, splits, labels; with a model, likely errors.

    [bold]Example:[/bold]  segkit check dataset --model runs/latest --out check
    """
    from segkit.commands.render.check import render_check
    from segkit.review.check import checked
    from segkit.review.fix import write_fixes
    from segkit.review.page import write_pages

    predict = None
    if config.model is not None:
        output.before_pytorch()
        from segkit.review.predicted import predict_dataset

        predict = predict_dataset
    with checked(config, output.progress(), predict) as report:
        files = [] if config.out is None else write_pages(report, config.out, output.progress())
        if config.fix is not None:
            number = write_fixes(report.contents, report.findings, Path(config.src), config.fix)
            output.note(f"{number} LabelMe files in {config.fix}")
        render_check(report, files, output)
    return FINDINGS if config.strict and report.findings else DONE
