"""``segkit export``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.export import ExportConfig
from segkit.errors import DONE


@configured_by(ExportConfig)
def export(config: ExportConfig, output: Output) -> int:
    """Write a model in a format that runs elsewhere, and check it against its source first.

    [bold]Example:[/bold]  segkit export runs/latest --out model.onnx
    """
    from segkit.commands.render.models import render_export
    from segkit.export.export import export

    render_export(export(config, output.progress()), output)
    return DONE
