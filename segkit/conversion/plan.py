"""Planning the dataset to write: names of categories and pictures, and the split of every image."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from segkit.config.convert import ConvertConfig
from segkit.conversion.listed_splits import with_listed_splits
from segkit.conversion.names import image_names
from segkit.conversion.output import RENAMED, OutputDataset, OutputImage
from segkit.conversion.plan_splits import plan_splits
from segkit.conversion.read import SourceContents
from segkit.conversion.same_pictures import picture_files
from segkit.conversion.split import SPLITS
from segkit.conversion.spool import ImageEntry, Spool
from segkit.data.records import BACKGROUND, IGNORE, Category, Finding
from segkit.errors import InputError
from segkit.formats.label_images.class_list import read_class_list
from segkit.formats.labelme.images import read_labels
from segkit.formats.source import Source
from segkit.progress import Progress
from segkit.text import label_text
from segkit.units import counted

_FORMATS_WITH_IGNORE = ("labelme", "semantic", "voc", "panoptic")  # those that can hold regions to ignore
NewLabels = dict[str, str | None]  # by the source's label; None: it is left out


def plan_dataset(
    config: ConvertConfig, source: Source, contents: SourceContents, root: Path, spool: Spool, progress: Progress
) -> OutputDataset:
    """Name categories and pictures, and give every image its split.

    Args:
        config: The options of the conversion.
        source: Where the images are from.
        contents: What was read of it.
        root: The folder to write to.
        spool: Has the instances.
        progress: For the writer.

    Raises:
        InputError: A label is not in the labels file, or ``--keep-splits`` names no dataset.
    """
    folder = None if config.src == "-" else folder_of(Path(config.src))
    entries, listed = with_listed_splits(contents.entries, folder)
    # What is background is no instance: LabelMe's name for it drops a label, as no name does.
    renames = {label: "" if name == BACKGROUND else name for label, name in config.map}
    new_labels: NewLabels = {label: renames.get(label, label) or None for entry in entries for label in entry.labels}
    counts = _instance_counts(entries, new_labels)
    if config.labels is None:
        categories = _category_names(counts, [renames.get(label, label) for label in map(label_text, source.labels)])
    else:
        categories = _listed_names(counts, config.labels)
    names = image_names(entries)
    planned = plan_splits(entries, names, config, new_labels)
    return OutputDataset(
        root=root,
        out=config.out,
        images=sorted(map(OutputImage, entries, names, planned.splits), key=lambda image: image.name),
        splits=[split for split in SPLITS if split in set(planned.splits)],
        categories=tuple(Category(number, name) for number, name in enumerate(categories, 1)),
        new_labels=new_labels,
        uncovered=source.uncovered,
        crowds=_ignores_as_crowds(config),
        references=config.images == "reference",
        keeps_attributes=config.target_format in ("coco", "labelme"),
        spool=spool,
        progress=progress,
        stuff=frozenset(name for label in source.stuff if (name := renames.get(label, label))),
        findings=[
            *_only_crowds(config, contents),
            *_without_use(config, {*new_labels, *map(label_text, source.labels)}),
            *_annotated_twice(entries),
            *_renamed(entries, names),
            *_stuff(config, source),
            *listed,
            *_ignored(config, entries, new_labels),
            *planned.findings,
        ],
        split_origins=planned.origins,
        folds={name: fold for name, fold in zip(names, planned.folds, strict=True) if fold is not None},
    )


def folder_of(path: Path) -> Path:
    """The folder of a source."""
    return path if path.is_dir() else path.parent


def _without_use(config: ConvertConfig, labels: Set[str]) -> list[Finding]:
    """Labels that ``--map`` names and the source does not have: most likely they are misspelt."""
    missing = [label for label in dict(config.map) if label not in labels]
    return [
        Finding(Path(config.src).name, "noted", f"--map {name}=: no label is {name!r}", shapes=0) for name in missing
    ]


def _only_crowds(config: ConvertConfig, contents: SourceContents) -> list[Finding]:
    """A note where nothing could be learnt from the dataset, as some tools mark every mask as a crowd."""
    if not contents.only_crowds or config.target_format not in ("coco", "labelme"):
        return []
    why = "every annotation is a crowd (iscrowd 1): models learn nothing from it; --crowds instances"
    return [Finding(Path(config.src).name, "noted", why, shapes=0)]


def _stuff(config: ConvertConfig, source: Source) -> list[Finding]:
    """What is lost of categories that are stuff, where the format has instances of things only."""
    if not source.stuff or config.target_format in ("panoptic", "semantic"):
        return []
    some = counted(len(source.stuff), "category is", "categories are")
    why = f"{some} stuff, which the format cannot say: regions are instances"
    return [Finding(Path(config.src).name, "changed", why, shapes=0)]


def _renamed(entries: Sequence[ImageEntry], names: Sequence[str]) -> list[Finding]:
    """Images that have another name in every format."""
    return [
        Finding(entry.key, "noted", RENAMED, shapes=0)
        for entry, name in zip(entries, names, strict=True)
        if name.rpartition("/")[2] != entry.name
    ]


def _annotated_twice(entries: Sequence[ImageEntry]) -> list[Finding]:
    """Pictures that more than one file annotates: all of them count, and they stay in one split."""
    first: dict[str, int] = {}
    return [
        Finding(entry.key, "noted", f"annotates the same image as {entries[before].key}", shapes=0)
        for number, (entry, file) in enumerate(zip(entries, picture_files(entries), strict=True))
        if file is not None and (before := first.setdefault(file, number)) != number
    ]


def _instance_counts(entries: Sequence[ImageEntry], new_labels: NewLabels) -> Counter[str]:
    """Instances by new label, without those to leave out or to ignore."""
    counts: Counter[str] = Counter()
    for label, number in Counter(label for entry in entries for label in entry.labels).items():
        name = new_labels[label]
        if name is not None and name != IGNORE:
            counts[name] += number
    return counts


def _ignores_as_crowds(config: ConvertConfig) -> bool:
    """Whether regions to ignore become crowds."""
    return config.ignore == "crowd" and config.target_format == "coco"


def _ignored(config: ConvertConfig, entries: Sequence[ImageEntry], new_labels: NewLabels) -> list[Finding]:
    """Regions to ignore, where the format cannot hold them; void pixels that nobody drew are no lost shapes."""
    if _ignores_as_crowds(config) or config.target_format in _FORMATS_WITH_IGNORE:
        return []
    drawn = "a region to ignore, which the format cannot hold; --ignore crowd keeps it as a COCO crowd"
    void = "void pixels (255) are background now; --ignore crowd keeps them as a COCO crowd"
    return [
        Finding(entry.key, "left out" if shapes else "noted", drawn if shapes else void, None, label, shapes=shapes)
        for entry in entries
        for index, label in enumerate(entry.labels)
        if new_labels[label] == IGNORE
        for shapes in (entry.num_shapes(index),)
    ]


def _category_names(counts: Mapping[str, int], listed: Sequence[str]) -> list[str]:
    """Names in the order of their ids: as the source lists them, then sorted."""
    ordered = list(dict.fromkeys(filter(None, listed)))
    if counts and not counts.keys() & set(ordered):
        ordered = []  # a list of something else
    return ordered + sorted(counts.keys() - set(ordered))


def _listed_names(counts: Mapping[str, int], path: Path) -> list[str]:
    """The names in a labels file: its lines, or what they name where they have numbers or colours, too.

    Raises:
        InputError: A label that is used is not in it.
    """
    names = read_labels(path)
    if counts.keys() - set(names):
        listed = read_class_list(path)
        if listed.numbered or listed.colours:
            names = [name for _, name in sorted(listed.names.items()) if name not in (BACKGROUND, IGNORE)]
    if unknown := sorted(counts.keys() - set(names)):
        some = ", ".join(f"{name!r} ({counts[name]})" for name in unknown[:5])
        raise InputError(
            f"{path}: does not list {len(unknown)} of the labels used: {some}",
            f"add them, rename with --map {unknown[0]}=NAME, or leave them out with --map {unknown[0]}=",
        )
    return names
