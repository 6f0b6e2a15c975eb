"""Options of ``segkit label``."""

from dataclasses import dataclass
from pathlib import Path

from segkit.config.fields import CommandConfig, argument, option
from segkit.errors import ConfigError

_NEXT = "Which pictures to annotate next"
_FOR_NEXT = ("model", "into", "score", "list_only", "dry_run", "batch", "device", "trust")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig(CommandConfig):
    """Options of opening LabelMe."""

    folder: Path = argument(help="Folder of LabelMe files or images.", metavar="DIR")
    labels: Path | None = option(
        None, help="A labels.txt with the labels to offer.  [default: the dataset's, else the latest run's]"
    )
    next: int | None = option(
        None, help="Open LabelMe on so many of the pictures without annotations: those that would teach the model "
        "most, with its predictions to correct. What is saved there is merged back into DIR.",
        min=1, max=100_000, panel=_NEXT,
    )  # fmt: skip
    model: Path | None = option(
        None, help="A run, a checkpoint or an exported file.  [default: runs/latest]", panel=_NEXT, complete="model"
    )
    list_only: bool = option(False, flag="--list", help="Only print which pictures; so does --json.", panel=_NEXT)
    dry_run: bool = option(False, help="Also print which files would be written; write nothing.", panel=_NEXT)
    merge: bool = option(
        False, help="Only merge what was saved in the folder of an earlier --next, after a crash for example.",
        panel=_NEXT,
    )  # fmt: skip
    into: Path | None = option(
        None, help="Folder that holds just those pictures meanwhile.  [default: DIR-next, beside DIR]", panel=_NEXT
    )
    score: float = option(0.5, help="Predictions with a lower confidence are not drawn.", min=0.0, max=1.0, panel=_NEXT)
    batch: int = option(4, help="Images per forward pass.", min=1, max=65536, panel=_NEXT)
    device: str = option("auto", help="Device: auto, cpu, cuda, cuda:1.", complete=("auto", "cpu", "cuda"), panel=_NEXT)
    trust: bool = option(
        False, help="Run an exported file that is a program (TorchScript, PT2): only if you know who made it.",
        panel=_NEXT,
    )  # fmt: skip

    def _check(self) -> None:
        if self.merge and self.next is not None:
            raise ConfigError("--merge: only merges; --next does so, too", "leave one of them out")
        without = {"into"} if self.merge else set()
        useless = [name for name in _FOR_NEXT if name in self.given_options() - without]
        if self.next is None and useless:
            flag = "--list" if useless[0] == "list_only" else "--" + useless[0].replace("_", "-")
            raise ConfigError(f"{flag}: is for --next", "add --next 20")

    @property
    def next_folder(self) -> Path:
        """The folder that holds the pictures of ``--next``."""
        own = self.folder.resolve() if self.folder.name in ("", ".", "..") else self.folder
        return self.into or own.with_name(f"{own.name}-next")
