"""``segkit doctor``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.doctor import DoctorConfig
from segkit.errors import DONE, FINDINGS, ConfigError


@configured_by(DoctorConfig)
def doctor(config: DoctorConfig, output: Output) -> int:
    """Look for what is wrong with this machine and this folder: packages, PyTorch, GPUs, limits, LabelMe.

    Exit code 3: something that segkit needs does not work.

    [bold]Example:[/bold]  segkit doctor
    """
    from segkit.commands.render.doctor import render_checkup
    from segkit.doctor.checkup import examine

    if config.report and output.as_json:
        raise ConfigError("--report and --json: both write to stdout", "leave one out; --json has the versions, too")
    found = examine(config, output.progress())
    render_checkup(found, output, report=config.report)
    wanted = ("problem", "note") if config.strict else ("problem",)
    return FINDINGS if any(fact.state in wanted for fact in found.facts) else DONE
