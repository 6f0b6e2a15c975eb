"""``segkit memprofile``."""

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.memprofile import MemprofileConfig
from segkit.errors import DONE, FINDINGS, INCONCLUSIVE


@configured_by(MemprofileConfig)
def memprofile(config: MemprofileConfig, output: Output) -> int:
    """Say where the memory of a training step goes, and whether it stays there.

    Exit code 3: a leak; 5: too few steps to say.

    [bold]Example:[/bold]  segkit memprofile runs/latest --steps 60
    """
    from segkit.commands.render_models import render_profile
    from segkit.memprofile import memprofile

    summary = memprofile(config, output.progress())
    render_profile(summary, output)
    return {"leak": FINDINGS, "inconclusive": INCONCLUSIVE}.get(summary.report.verdict, DONE)
