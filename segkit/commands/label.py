"""``segkit label``: starts LabelMe as a program; segkit never imports it."""

from dataclasses import replace

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.label import LabelConfig
from segkit.errors import DONE


@configured_by(LabelConfig)
def label(config: LabelConfig, output: Output) -> int:
    """Open LabelMe on a folder; with --next on the pictures that would teach the model most.

    [bold]Example:[/bold]  segkit label pictures --next 20 --model runs/latest
    """
    from segkit.commands.render.label import render_label
    from segkit.review.label import label

    if output.as_json:  # a program asks which pictures: no window opens
        config = replace(config, list_only=True)
    summary = label(config, output.progress())
    render_label(summary, output, files=config.dry_run)
    return summary.exit_code or DONE
