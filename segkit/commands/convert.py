"""``segkit convert``."""

import sys

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.convert import ConvertConfig
from segkit.errors import DONE, FINDINGS


@configured_by(ConvertConfig)
def convert(config: ConvertConfig, output: Output) -> int:
    """Convert annotations to a dataset, and report everything that was lost or changed.

    [bold]Example:[/bold]  segkit convert labelme-dir --val 0.2
    """
    from segkit.commands.render.conversion import render_conversion
    from segkit.conversion.convert import convert

    summary = convert(config, output.progress(), sys.stdin)
    render_conversion(summary, output)
    return DONE if summary.lossless or not config.strict else FINDINGS
