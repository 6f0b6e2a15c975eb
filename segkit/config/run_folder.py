"""Options of ``segkit train`` for the folder of the run."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import option
from segkit.config.teaching import TeachingConfig

_PANEL = "Run"
_MOST_KEPT = 100  # failing steps: each may take some hundred MB


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolderConfig(TeachingConfig):
    """Where a run is, and what is kept in it; ``TrainConfig`` has all the others."""

    name: str | None = option(None, help="Name of the run.  [default: the model and a number]", panel=_PANEL)
    out: Path = option(Path("runs"), help="Folder for runs.", panel=_PANEL)
    tensorboard: bool = option(
        False, help="Also write TensorBoard event files into the run; needs the package tensorboard.", panel=_PANEL
    )
    resume: str | None = option(
        None, help="Continue a run with its own config; --resume alone continues the latest run.", metavar="[RUN]",
        bare="latest", panel=_PANEL, complete="run",
    )  # fmt: skip
    failures: int = option(
        3, help="Failing steps (out of memory, a loss that is not finite, an exception) to keep at most, in failures/ "
        "of the run, for segkit replay; 0: none.", min=0, max=_MOST_KEPT, panel=_PANEL,
    )  # fmt: skip
