"""``segkit check``."""

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
    from segkit.review.check import check

    summary = check(config, output.progress())
    render_check(summary, output)
    return FINDINGS if config.strict and summary.report.findings else DONE
