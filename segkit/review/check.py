"""``check``: read, predict, report, write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.check import CheckConfig
from segkit.conversion.contents import read_annotations
from segkit.data.records import Dataset
from segkit.errors import InputError
from segkit.progress import SILENT, Progress
from segkit.review.fix import write_fixes
from segkit.review.page import write_pages
from segkit.review.predictions import Predictions, read_predictions
from segkit.review.report import CheckReport, report_of
from segkit.runtime.address_space import warn_of_limit


@dataclass(frozen=True, slots=True)
class CheckSummary:
    """What was found, and what was written.

    Attributes:
        report: What was found. Pictures that had to be decoded to be looked at are gone by now.
        files: The pages of ``--out``.
        fix_folder: That of ``--fix``.
        fixes: How many LabelMe files were written there.
    """

    report: CheckReport
    files: tuple[Path, ...]
    fix_folder: Path | None = None
    fixes: int = 0

    def to_json(self) -> dict[str, Any]:
        """What ``check --json`` prints."""
        return self.report.to_json()


def check(config: CheckConfig, progress: Progress = SILENT) -> CheckSummary:
    """Check a dataset, and write what ``--out`` and ``--fix`` ask for.

    Without ``--model`` no PyTorch is loaded.

    Args:
        config: The options.
        progress: Shows how much is done.

    Raises:
        InputError: There is nothing to check, no model or results of that name, or a folder to write to is not free.
        DeviceError: A single image needs more memory than there is.
    """
    _check_folders(config)
    if config.model is not None:
        warn_of_limit(progress)
    with read_annotations(config.src, config.source_format, config.images_dir, config.workers, progress) as contents:
        predictions = _predictions(config, contents.dataset, progress)
        progress.start("checking", None)
        report = report_of(config, contents, predictions)
        progress.done()
        files = [] if config.out is None else write_pages(report, config.out, progress)
        fixes = 0
        if config.fix is not None:
            fixes = write_fixes(contents, report.findings, Path(config.src), config.fix)
    return CheckSummary(report, tuple(files), config.fix, fixes)


def _predictions(config: CheckConfig, dataset: Dataset, progress: Progress) -> Predictions | None:
    """What ``--predictions`` or ``--model`` say of a dataset; None where neither is given."""
    if config.predictions is not None:
        return read_predictions(config, dataset)
    if config.model is None:
        return None
    from segkit.review.predicted import predict_dataset  # noqa: PLC0415 -- a model may need PyTorch

    return predict_dataset(config, dataset, progress)


def _check_folders(config: CheckConfig) -> None:
    """Refuse folders inside SRC: what is written there would be read as annotations the next time.

    Raises:
        InputError: One is inside, or has files already.
    """
    root = Path(config.src).resolve()
    for flag, folder in (("--fix", config.fix), ("--out", config.out)):
        if folder is not None and (folder.resolve() == root or root in folder.resolve().parents):
            raise InputError(f"{flag} {folder}: is inside of {config.src}", "choose a folder beside it")
    if config.fix is not None and config.fix.exists() and (not config.fix.is_dir() or any(config.fix.iterdir())):
        raise InputError(f"--fix {config.fix}: has files already", "choose a folder that is new or empty")
