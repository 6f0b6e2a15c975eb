"""Annotations in any format -> a dataset folder in any other, with a record of everything that was lost on the way.

gather -> arrange -> write -> report. One bad file never stops the rest: it becomes a row of ``report.json``.
Instances wait on disk (``segkit.convert.spool``); what stays in memory is a short entry for each image.
"""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from segkit.config.convert import ConvertConfig, TargetFormat
from segkit.convert.layout import arrange, split_settings
from segkit.convert.outgoing import Outgoing
from segkit.convert.read import Job, gather
from segkit.convert.source import open_source
from segkit.convert.spool import Spool
from segkit.convert.summary import ConversionSummary, summarise, write_report
from segkit.convert.target_folder import check_target, writing_beside
from segkit.convert.writers.coco import write_coco_dataset
from segkit.convert.writers.label_images import write_idmask_dataset, write_semantic_dataset, write_voc_dataset
from segkit.convert.writers.labelme import write_labelme_dataset
from segkit.convert.writers.yolo import write_yolo_dataset
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.progress import SILENT, Progress
from segkit.runtime.signals import signal_handlers

_WRITERS: dict[TargetFormat, Callable[[Outgoing], None]] = {
    "coco": write_coco_dataset,
    "labelme": write_labelme_dataset,
    "yolo": write_yolo_dataset,
    "voc": write_voc_dataset,
    "idmask": write_idmask_dataset,
    "semantic": write_semantic_dataset,
}
_KEEPS_IGNORED = ("labelme", "semantic", "voc")  # formats that have a place for regions to ignore
_WORK = ".work"  # in the folder that is written: what is gone before it is moved


def convert(config: ConvertConfig, progress: Progress = SILENT, stdin: Iterable[str] = ()) -> ConversionSummary:
    """Convert annotations to a dataset folder.

    Args:
        config: What to do.
        progress: Who is told how far it is.
        stdin: Where ``-`` reads paths.

    Returns:
        Counts, and a finding for every shape or file that did not go over as it was.

    Raises:
        InputError: Nothing can be converted, a label is unknown, or the target is taken.
    """
    if not config.dry_run:
        check_target(config.out, config.force)
    source = open_source(config, stdin)
    with (
        # Schedulers end jobs by SIGTERM: then, too, nothing half-written stays behind.
        signal_handlers({signal.SIGTERM: signal.default_int_handler}),
        _work_folder(config) as root,
        Spool(root / _WORK / "instances" if root else None) as spool,
    ):
        pictures = None if root is None or config.dry_run else root / _WORK / "pictures"
        job = Job(source.read, config.images, pictures, config.group_similar)
        gathered = gather(source, job, spool, config.workers, progress)
        if not gathered.entries:
            raise _nothing(config.src, gathered.findings)
        going = arrange(config, source, gathered, root or config.out, spool, progress)
        if root is not None:
            progress.start("writing", len(going.entries))
            _WRITERS[config.target_format](going)
            progress.done()
        summary = summarise(config, source, gathered, going)
        if root is not None:
            entries = sorted(["report.json", *(entry.name for entry in root.iterdir() if entry.name != _WORK)])
            write_report(summary, split_settings(config), entries, root / "report.json")
    return summary


@contextmanager
def _work_folder(config: ConvertConfig) -> Iterator[Path | None]:
    """The folder that is written to; None where nothing is.

    What a format cannot hold shows when it is written: a dry run writes it where it is thrown away, without pictures.
    """
    if config.dry_run:
        if config.target_format in ("coco", "labelme"):
            yield None
            return
        with TemporaryDirectory(prefix="segkit-dry-run-") as name:
            (Path(name) / _WORK).mkdir()
            yield Path(name)
        return
    with writing_beside(config.out, _WORK) as beside:
        (beside / _WORK).mkdir()
        yield beside


def _nothing(src: str, findings: Sequence[Finding]) -> InputError:
    if not findings:
        return InputError(f"{src}: nothing to convert", "name the folder that holds the LabelMe JSON files")
    first = findings[0]
    more = f" (and {len(findings) - 1} more findings)" if len(findings) > 1 else ""
    return InputError(f"{src}: nothing could be converted: {first.file}: {first.why}{more}")
