"""``segkit replay``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.replay import ReplayConfig
from segkit.errors import DONE, FINDINGS


@configured_by(ReplayConfig)
def replay(config: ReplayConfig, output: Output) -> int:
    """Run again the step in which a training failed: out of memory, a loss that is not finite, an error.

    A run keeps such steps in failures/. Exit code 0: the step runs through now; 3: it fails again.

    [bold]Example:[/bold]  segkit replay runs/latest/failures/12 --shrink
    """
    output.before_pytorch()
    from segkit.commands.render.replays import render_replay
    from segkit.training.failures.replay import replay

    result = replay(config, output.progress())
    render_replay(result, output)
    return DONE if result.attempt.kind is None else FINDINGS
