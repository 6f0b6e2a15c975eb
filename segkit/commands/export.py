"""``segkit export``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.export import ExportConfig
from segkit.errors import DONE


@configured_by(ExportConfig)
def export(config: ExportConfig, output: Output) -> int:
    """Export a model to another format; the file is compared with the original before it is kept.

    [bold]Example:[/bold]  segkit export runs/latest --out model.onnx
    """
    output.before_pytorch()
    from segkit.commands.render.exports import render_bench, render_export, render_prune
    from segkit.exporting.bench import bench
    from segkit.exporting.export import export
    from segkit.exporting.prune import prune

    if config.bench:
        render_bench(bench(config, output.progress()), output)
        return DONE

    if config.prune is not None:
        render_prune(prune(config, output.progress()), output)
        return DONE

    render_export(export(config, output.progress()), output)
    return DONE
