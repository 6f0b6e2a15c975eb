"""Options of ``segkit memprofile``."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import MOST_STEPS, CommandConfig, argument, flag_of, option, options_of
from segkit.config.parsers import SIZE_UNITS, parse_size, parse_sizes
from segkit.errors import ConfigError

LEAST_VRAM = 2**26  # bytes; below, a unit was forgotten


@dataclass(frozen=True, kw_only=True, slots=True)
class MemprofileConfig(CommandConfig):
    """Options of a memory profile."""

    target: list[str] | None = argument(
        None, help="A run, its config.toml, or -- followed by a PyTorch script or a command, with its arguments.  "
        "[default: runs/latest, else ./dataset with defaults]",
        metavar="RUN|CONFIG|-- SCRIPT ARGS...", complete="run",
    )  # fmt: skip
    steps: int | None = option(
        None,
        help="Steps to measure; a script is stopped after them.  [default: 30; a script runs to its end]",
        min=1,
        max=MOST_STEPS,
    )
    step_every: int = option(
        1,
        help="Optimiser steps per measured step; without an optimiser: backward passes, else forward passes.",
        min=1,
        max=MOST_STEPS,
    )
    out: Path = option(Path("memprofile"), help="Folder for memory.json and memory.html.")
    deep: bool = option(False, help="Inspect CPU memory at every step, instead of now and then.")
    limit: int | None = option(
        None, help="Memory limit: exit 4 if the peak exceeds it, and estimate when a leak reaches it. "
        f"{SIZE_UNITS}  [default: the device's memory, else the machine's]", parse=parse_size, metavar="SIZE",
    )  # fmt: skip
    explain: Path | None = option(None, help="Show a recording: a memory.json, or a PyTorch memory snapshot (.pickle).")
    fit: bool = option(
        False, help="Estimate the peak GPU memory of segkit's own training, without a GPU; exit 4 if it does not fit "
        "into every --vram.",
    )  # fmt: skip
    vram: tuple[int, ...] | None = option(
        None, help=f"With --fit: GPU memory sizes to check. {SIZE_UNITS}  [default: 6GiB,8GiB,12GiB,16GiB,24GiB]",
        parse=parse_sizes, metavar="SIZE,...",
    )  # fmt: skip
    overhead: int | None = option(
        None, help="With --fit: GPU memory that is not tensors (driver, CUDA context, workspaces, desktop), measured "
        f"on your GPU. {SIZE_UNITS}  [default: an assumed 0.8 GiB and 5 % of the tensors]", parse=parse_size,
        metavar="SIZE",
    )  # fmt: skip
    calibrate: bool = option(
        False, help="With --fit: measure what this GPU holds besides tensors, and keep it for later estimates.",
    )  # fmt: skip
    device: str = option(
        "auto", help="Device for segkit's own training: auto, cpu, cuda, cuda:1.  [default: the run's]"
    )

    command: list[str] | None = option(
        None, help="A PyTorch script or a command, with its arguments.", after_separator=True
    )

    def _check(self) -> None:
        if self.fit and self.script is not None:
            raise ConfigError(
                "--fit estimates segkit's own training, not a script",
                "measure the script: segkit memprofile --limit 8GiB -- train.py ARGS",
            )
        self._refuse_unused()
        if self.vram is not None and self.vram[0] < LEAST_VRAM:
            raise ConfigError(f"--vram: a GPU of {self.vram[0]} bytes", "sizes take units: --vram 6GiB,12GiB")
        for name in ("vram", "overhead"):
            if getattr(self, name) is not None and not self.fit:
                raise ConfigError(f"--{name} goes with --fit", f"segkit memprofile --fit --{name} 8GiB")
        if self.calibrate and (not self.fit or self.overhead is not None):
            wanted = "goes with --fit" if not self.fit else "and --overhead do not go together"
            raise ConfigError(f"--calibrate {wanted}", "segkit memprofile --fit --calibrate")
        if len(self.target or ()) + (self.command is not None) > 1 and self.script is None:
            raise ConfigError(
                "measure one run or one script at a time", "a script comes after --: segkit memprofile -- train.py ARGS"
            )

    def _refuse_unused(self) -> None:
        """Refuse options that would have no effect."""
        measuring = {"steps", "step_every", "deep", "device"}
        if self.fit:
            mode, unused = "--fit", measuring | {"explain", "limit"}
        elif self.explain is not None:
            mode, unused = "--explain", measuring | {"target", "command"}
        elif self.script is not None:
            mode, unused = "a script", {"device"}
        else:
            return
        for each in options_of(type(self)):
            if each.name in unused & self.given_options():
                flag = "--" if each.name == "command" else flag_of(each)
                raise ConfigError(f"{mode} and {flag} do not go together", "leave one of them out")

    @property
    def script(self) -> list[str] | None:
        """The command to measure, where it is not segkit's own training."""
        script = [*(self.target or ()), *(self.command or ())]
        if self.target:
            return script if self.target[0].endswith(".py") else None
        if self.command is not None and not script:
            raise ConfigError("--: which script?", "segkit memprofile -- train.py ARGS")
        return script or None

    @property
    def run(self) -> Path | None:
        """The run or config to measure, where it is segkit's own training."""
        return Path(self.target[0]) if self.target and self.script is None else None
