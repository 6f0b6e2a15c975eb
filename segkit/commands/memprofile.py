"""``segkit memprofile``."""

import sys

from segkit.commands.options import configured_by
from segkit.commands.output import Output
from segkit.config.memprofile import MemprofileConfig


@configured_by(MemprofileConfig)
def memprofile(config: MemprofileConfig, output: Output) -> int:
    """Show where the memory of a training step goes, and find leaks: the line, the cause, the fix.

    Measures segkit's training or any PyTorch script, unchanged. --fit estimates peak GPU memory without a GPU.
    Exit code 3: a leak; 4: does not fit; 5: too few steps to decide; a script that fails keeps its own exit code.

    [bold]Example:[/bold]  segkit memprofile -- train.py --epochs 3
    """
    if config.explain is None:  # a recording is read without PyTorch; a script has the limit of this process
        output.before_pytorch()
    if config.fit:
        from segkit.commands.render.fit import render_fit
        from segkit.memprofile.estimate import estimate_memory

        estimate = estimate_memory(config, output.progress())
        render_fit(estimate, output)
        return estimate.code

    from segkit.commands.render.memory import live_line, render_profile
    from segkit.memprofile.profile import memprofile

    with live_line(output) as on_status:
        stdout = sys.stderr.fileno() if output.as_json else None  # the document alone goes to stdout
        summary = memprofile(config, output.progress(), on_status, stdout)
    # A script has stdout to itself, as without segkit: what is said of it goes to stderr.
    render_profile(summary, output if config.script is not None else output.answering())
    return summary.code
