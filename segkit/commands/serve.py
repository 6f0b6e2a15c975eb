"""``segkit serve``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.serve import ServeConfig
from segkit.errors import DONE
from segkit.extras import extra_package


@configured_by(ServeConfig)
def serve(config: ServeConfig, output: Output) -> int:
    """Serve a model to other programs on this computer: JSON over HTTP, X-AnyLabeling, and a page to try it.

    [bold]Example:[/bold]  segkit serve runs/latest
    """
    for package in ("starlette", "uvicorn", "prometheus_client"):
        extra_package(package, "segkit serve", "serve")
    output.before_pytorch()
    from segkit.serving.server import serve

    def listening(url: str, model: str) -> None:
        output.json({"url": url, "model": model})
        output.note(f"{url} answers for {model}; stop it with Ctrl-C")

    serve(config, listening, output.progress())
    return DONE
