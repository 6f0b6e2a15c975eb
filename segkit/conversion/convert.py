"""Annotations in any format -> a dataset folder in any other, with a record of everything that was lost on the way.

read -> plan -> write -> summarise. One bad file never stops the rest: it becomes a row of ``report.json``.
Instances are kept on disk (``segkit.conversion.spool``); in memory there is a short entry for each image.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from segkit.config.convert import ConvertConfig, TargetFormat
from segkit.conversion.earlier_splits import for_next_conversion
from segkit.conversion.output import OutputDataset
from segkit.conversion.plan import folder_of, plan_dataset
from segkit.conversion.read import ReadOptions, SourceContents, read_source
from segkit.conversion.refusals import nothing_found
from segkit.conversion.source import open_source
from segkit.conversion.spool import Spool
from segkit.conversion.summary import ConversionSummary, summarise, write_report
from segkit.conversion.target_folder import check_source_apart, check_target, replaced_by, temporary_folder
from segkit.conversion.unannotated import folders_not_read, pictures_without_annotations
from segkit.conversion.writers.coco import write_coco_dataset
from segkit.conversion.writers.idmask import write_idmask_dataset
from segkit.conversion.writers.labelme import write_labelme_dataset
from segkit.conversion.writers.panoptic import write_panoptic_dataset
from segkit.conversion.writers.semantic import write_semantic_dataset
from segkit.conversion.writers.voc import write_voc_dataset
from segkit.conversion.writers.yolo import write_yolo_dataset
from segkit.data.files import unreadable_folders
from segkit.data.locks import temporary_directory
from segkit.data.records import Finding
from segkit.errors import InputError
from segkit.formats.encoding import TextEncoding, findings_on_encoding, text_encoding
from segkit.progress import SILENT, Progress
from segkit.runtime.signals import raising_interrupts
from segkit.text import without_values

_WRITERS: dict[TargetFormat, Callable[[OutputDataset], None]] = {
    "coco": write_coco_dataset,
    "labelme": write_labelme_dataset,
    "yolo": write_yolo_dataset,
    "voc": write_voc_dataset,
    "idmask": write_idmask_dataset,
    "semantic": write_semantic_dataset,
    "panoptic": write_panoptic_dataset,
}
_WORK = ".work"  # in the temporary folder: what does not become a part of the dataset


def convert(config: ConvertConfig, progress: Progress = SILENT, stdin: Iterable[str] = ()) -> ConversionSummary:
    """Convert annotations to a dataset folder.

    Args:
        config: The options.
        progress: Shows how much is read and written.
        stdin: Where ``-`` reads paths.

    Returns:
        Counts, and a finding for every shape or file that was not converted exactly.

    Raises:
        InputError: Nothing can be converted, a label is unknown, or the target folder is in use.
    """
    check_source_apart(config.src, config.out)
    if not config.dry_run:
        check_target(config.out, config.force)
        if config.images == "none" and replaced_by(config.out) and _is_inside(config.src, config.out):
            raise InputError(
                f"{config.out}: --images none would delete the images that {config.src} names", "choose another --out"
            )
    texts = TextEncoding(config.encoding, None if config.src == "-" else str(folder_of(Path(config.src))))
    with text_encoding(texts) as noticed, unreadable_folders() as unreadable:
        return _convert(config, progress, stdin, texts, noticed, unreadable)


def _convert(
    config: ConvertConfig,
    progress: Progress,
    stdin: Iterable[str],
    texts: TextEncoding,
    noticed: list[tuple[str, str]],
    unreadable: dict[Path, str],
) -> ConversionSummary:
    """Convert, inside the block that knows the encoding of texts.

    Args:
        config: The options.
        progress: Shows how much is read and written.
        stdin: Where ``-`` reads paths.
        texts: The encoding, for other processes.
        noticed: Has the files that were not UTF-8.
        unreadable: Has the folders that could not be listed.
    """
    source = open_source(config, stdin)
    with (
        # Schedulers end jobs by SIGTERM: then, too, nothing half-written is left behind.
        raising_interrupts(),
        _root(config.out, config.target_format, config.dry_run, config.force) as root,
        closing(Spool(root / _WORK / "instances" if root else None)) as spool,
    ):
        pictures = None if root is None or config.dry_run else root / _WORK / "pictures"
        options = ReadOptions(
            config.images,
            pictures,
            config.group_similar,
            config.crowds == "instances",
            texts,
            config.boxes,
            () if config.dry_run else replaced_by(config.out),
        )
        contents = read_source(source, options, spool, config.workers, progress)
        if not contents.entries:
            raise _nothing(config.src, contents.findings)
        more = _unannotated(config, source.format, contents)
        more += [] if config.src == "-" else folders_not_read(unreadable, folder_of(Path(config.src)))
        contents = replace(contents, findings=(*contents.findings, *more))
        output = plan_dataset(config, source, contents, root or config.out, spool, progress)
        if root is not None:
            progress.start("writing", len(output.images))
            _WRITERS[config.target_format](output)
            progress.done()
        contents = replace(contents, findings=(*findings_on_encoding(noticed), *contents.findings))
        summary = summarise(contents, output, source.format, config.target_format, dry_run=config.dry_run)
        if summary.left_out and not summary.converted and not summary.dropped:
            raise _all_lost(config.src, summary)
        if root is not None:
            entries = sorted(["report.json", *(entry.name for entry in root.iterdir() if entry.name != _WORK)])
            write_report(summary, for_next_conversion(config, output), entries, root / "report.json")
    return summary


def _is_inside(src: str, folder: Path) -> bool:
    """Whether a source is a folder or a file in it; a list of files is read where it is read."""
    return src != "-" and Path(src).resolve().is_relative_to(folder.resolve())


def _unannotated(config: ConvertConfig, kind: str, contents: SourceContents) -> list[Finding]:
    if config.src == "-":
        return []
    return pictures_without_annotations(kind, Path(config.src), config.out, contents.entries, contents.findings)


@contextmanager
def _root(out: Path, target_format: TargetFormat, dry_run: bool, force: bool) -> Iterator[Path | None]:
    """The temporary folder that is written to; None where nothing is written.

    What a format cannot hold is found when it is written: a dry run writes the annotations, and deletes them.
    """
    if dry_run and target_format in ("coco", "labelme"):  # they can hold everything
        yield None
        return
    temporary = temporary_directory("segkit-dry-run-") if dry_run else temporary_folder(out, _WORK, force)
    with temporary as folder:
        (folder / _WORK).mkdir()
        yield folder


def _all_lost(src: str, summary: ConversionSummary) -> InputError:
    """What became of the shapes, where not one of them is left: the most frequent reasons."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in summary.findings:
        if row.action == "left out" and row.shapes:
            kind = without_values(row.why)
            first.setdefault(kind, row.why)
            counts[kind] += row.shapes
    reasons = [f"{first[kind]} ({number})" for kind, number in counts.most_common(3)]
    more = f", and {len(counts) - 3} other reasons" if len(counts) > 3 else ""
    shapes = "its only shape is" if summary.shapes == 1 else f"all of its {summary.shapes} shapes are"
    return InputError(f"{src}: nothing would be left: {shapes} left out: {'; '.join(reasons)}{more}")


def _nothing(src: str, findings: Sequence[Finding]) -> InputError:
    if not findings:
        return nothing_found(src)
    first = next((row for row in findings if row.action == "left out"), findings[0])
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return InputError(f"{src}: nothing could be converted: {first.file}: {first.why}{more}")
