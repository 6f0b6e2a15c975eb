"""``label``: open LabelMe on a folder, or on the pictures that would teach a model most; what was saved comes back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.label import LabelConfig
from segkit.errors import InputError
from segkit.progress import SILENT, Progress
from segkit.review.next_folder import Merged, merge_saved, write_next
from segkit.review.next_plan import NextPlan
from segkit.runtime.address_space import warn_of_limit
from segkit.runtime.labelme import check_labelme, open_labelme
from segkit.units import counted

_DEFAULT_LABELS = (Path("dataset/labels.txt"), Path("runs/latest/labels.txt"))


@dataclass(frozen=True, slots=True)
class LabelSummary:
    """What was done.

    Attributes:
        plan: With ``--next``, which pictures were chosen.
        merged: What came back from the folder of ``--next``; None: nothing was looked for there.
        exit_code: That of LabelMe; None: it was not opened.
    """

    plan: NextPlan | None = None
    merged: Merged | None = None
    exit_code: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What ``label --json`` prints."""
        plan = {} if self.plan is None else self.plan.to_json()
        merged = {} if self.merged is None else {"merged": self.merged.to_json()}
        return plan | merged | {"labelme_exit_code": self.exit_code}


def label(config: LabelConfig, progress: Progress = SILENT) -> LabelSummary:
    """Open LabelMe, list what to annotate next, or merge what was saved.

    Args:
        config: The options.
        progress: Shows how many pictures are predicted, and says when LabelMe opens.

    Raises:
        InputError: There is no such folder or model, no LabelMe, no display, or the folder of ``--next`` is not free.
    """
    if not config.folder.is_dir():
        raise InputError(f"{config.folder}: no such folder")
    if config.merge:
        return LabelSummary(merged=merge_saved(config.next_folder, config.folder))
    if config.next is not None:
        return _next(config, progress)
    check_labelme()
    return LabelSummary(exit_code=open_labelme(config.folder, _labels(config)))


def _next(config: LabelConfig, progress: Progress) -> LabelSummary:
    """Choose pictures, and open LabelMe on them unless they are only listed."""
    opens = not (config.list_only or config.dry_run)
    earlier = Merged()
    if opens:
        check_labelme()
        earlier = merge_saved(config.next_folder, config.folder)  # what is left of an earlier time
        for line in earlier.said():
            progress.note(line)
    warn_of_limit(progress)
    from segkit.review.choose_next import plan_next  # noqa: PLC0415 -- a model may need PyTorch

    plan = plan_next(config, progress)
    if not opens:
        return LabelSummary(plan)
    write_next(plan.folder, plan.pictures, plan.categories)
    pictures = counted(len(plan.pictures), "picture", "pictures")
    progress.note(f"LabelMe opens on {pictures} of {plan.candidates} without annotations: close it when you are done")
    code = open_labelme(plan.folder, _labels(config))
    return LabelSummary(plan, merge_saved(config.next_folder, config.folder), code)


def _labels(config: LabelConfig) -> Path | None:
    """The labels to offer: those that were named, those of the dataset, or of the latest run."""
    return config.labels or next((path for path in _DEFAULT_LABELS if path.is_file()), None)
