"""``eval`` of a second annotator: annotations as results, the ceiling beside which a model's score is read."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segkit.config.evaluate import EvalConfig
from segkit.conversion.contents import AnnotatedImage, Contents, read_annotations
from segkit.data.records import Annotation, Category, Dataset, Result
from segkit.errors import ConfigError, InputError
from segkit.evaluation.analysis.agreement import agreement_of
from segkit.evaluation.coco.inputs import comparable_iou_types
from segkit.evaluation.coco.score import score_results
from segkit.evaluation.evaluation import Evaluation
from segkit.formats.json_file import read_json
from segkit.progress import SILENT, Progress
from segkit.units import counted, format_size

_OF_RUNS = ("config.toml", "*.pt")
_OF_MODELS = ("compare", "folds", "lvis", "promise", "trust", "vram")


def is_annotator(subject: Path | None) -> bool:
    """Whether ``eval`` was given annotations: a folder that is no run, or a COCO file of annotations."""
    if subject is None or not subject.exists():
        return False
    if subject.is_dir():
        if any(True for pattern in _OF_RUNS for _ in subject.glob(pattern)):
            return False
        names = (path for path in subject.rglob("*") if path.suffix.lower() in (".json", ".xml", ".txt", ".png"))
        return any(True for _ in names)
    if subject.suffix.lower() != ".json":
        return False
    try:
        with subject.open("rb") as file:
            if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":  # results are a list, which may be long
                return False
        top = read_json(subject)
    except (InputError, OSError):
        return False  # its reader says what is wrong
    return isinstance(top, dict) and "images" in top and "annotations" in top


def check_options_of_annotator(config: EvalConfig) -> None:
    """Refuse what only a model has.

    Raises:
        ConfigError: An option is for models.
    """
    if wrong := [name for name in _OF_MODELS if name in config.given_options()]:
        raise ConfigError(f"--{wrong[0]}: {config.subject} is annotations, not a model", "leave it out")
    if config.task == "semantic":
        raise ConfigError("--task semantic scores models; annotations are compared by instances")


def evaluate_annotator(config: EvalConfig, progress: Progress = SILENT) -> Evaluation:
    """Score what one person annotated by what another one did, each instance with the score 1.

    Raises:
        InputError: There are no annotations, or they have no image in common.
    """
    assert config.subject is not None
    data = config.data or Path("dataset")
    if not data.exists():
        if config.data is not None:
            raise InputError(f"{data}: no such file or folder", "--data names the annotations of the other person")
        raise InputError(
            f"{config.subject}: annotations, and no model",
            f"a model on them: segkit eval RUN --data {config.subject}; beside those of another person: --data THEIRS",
        )
    with (
        _annotations(data, config.images_dir, progress) as first,
        _annotations(config.subject, config.images_dir, progress) as second,
    ):
        split = config.split if "split" in config.given_options() else None
        dataset, results, warnings = _side_by_side(config, first, second, split)
        progress.start("comparing", None)
        types = config.iou or comparable_iou_types(dataset, results)
        metrics = score_results(dataset, results, types, config.max_dets, config.engine, areas=config.areas)
        agreement = agreement_of(dataset, results)
        progress.done()
        pictures = {image.name: image.picture for image in first.images}
    dataset = replace(dataset, find_picture=_still_there(pictures))
    metrics = replace(metrics, agreement=agreement, warnings=[*warnings, *metrics.warnings])
    count = len(dataset.annotations)
    return Evaluation(metrics, config.out, str(config.subject), data, dataset, tuple(results), num_annotations=count)


@contextmanager
def _annotations(source: Path, images_dir: Path | None, progress: Progress) -> Iterator[Contents]:
    """What one of the two has; a file without its images may have been given in the place of results.

    Raises:
        InputError: There is nothing to read.
    """
    with ExitStack() as stack:
        try:
            contents = stack.enter_context(read_annotations(str(source), "auto", images_dir, 0, progress))
        except InputError as error:
            if error.hint is not None or not source.is_file():
                raise
            raise InputError(
                error.message,
                "annotations of two people are compared with their images; if results are to be compared with "
                f"annotations: segkit eval RESULTS.json --data {source}",
            ) from None
        yield contents


def _still_there(pictures: dict[str, Path | None]) -> Callable[[str], Path | None]:
    """Finds the pictures that are files of the user: those that had to be decoded are gone."""
    return {name: path for name, path in pictures.items() if path is not None and path.is_file()}.get


def _side_by_side(
    config: EvalConfig, first: Contents, second: Contents, split: str | None
) -> tuple[Dataset, list[Result], list[str]]:
    """The images that both have annotated: what the first one has as a dataset, the other as results."""
    mine = [n for n, image in enumerate(first.images) if split is None or image.split == split]
    if not mine:
        raise InputError(f"{config.data}: has no images of the split {split!r}")
    others = _same_pictures([first.images[n] for n in mine], second.images)
    if not first.counts and not second.counts:
        raise InputError(f"{config.subject}: neither has an instance: there is nothing to compare")
    warnings, both = [], {}
    for place, n in enumerate(mine):
        if (other := others.get(place)) is None:
            continue
        one, two = first.images[n], second.images[other]
        if one.size != two.size:
            sizes = f"{format_size(*one.size)}, and {format_size(*two.size)} for the other"
            warnings.append(f"{one.name}: is {sizes}: left out")
        else:
            both[n] = other
    if not both:
        raise InputError(
            f"{config.subject}: has no image in common with {config.data or 'dataset'}",
            "images are the same if their files are, or their names",
        )
    for total, who in ((len(mine), "first"), (len(second.images), "second")):
        if total > len(both):
            alone = counted(total - len(both), "image is", "images are")
            warnings.append(f"{alone} annotated by the {who} only: left out")
    names = list(dict.fromkeys((*first.labels, *second.labels)))
    ids = {name: number for number, name in enumerate(names, 1)}
    for who, own, theirs in (("second", second.counts, first.counts), ("first", first.counts, second.counts)):
        if lacking := set(theirs) - set(own):
            warnings.append(f"the {who} has no instance of {', '.join(map(repr, sorted(lacking)))}")
    base = first.dataset
    kept = {n + 1 for n in both}
    annotations: list[Annotation] = [a for a in base.annotations if a.image_id in kept]
    results = [
        Result(n + 1, ids[each.label], 1.0, each.bbox, each.segmentation or None)
        for n, other in both.items()
        for each in second.images[other].instances
        if not each.iscrowd
    ]
    if any(r.segmentation is None for r in results):  # boxes only on one side
        results = [replace(r, segmentation=None) for r in results]
    dataset = replace(
        base,
        images=tuple(image for image in base.images if image.id in kept),
        annotations=tuple(annotations),
        categories=tuple(Category(number, name) for name, number in ids.items()),
    )
    return dataset, results, warnings


def _same_pictures(first: Sequence[AnnotatedImage], second: Sequence[AnnotatedImage]) -> dict[int, int]:
    """Which picture of the second is which of the first: by file, else by name, else by a stem that is used once."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    for name_of in (_file, _name, _base_name, _stem):
        there: dict[str, list[int]] = defaultdict(list)
        for n, image in enumerate(second):
            if n not in taken and (key := name_of(image)) is not None:
                there[key].append(n)
        mine = Counter(name_of(image) for n, image in enumerate(first) if n not in found)
        for n, image in enumerate(first):
            key = name_of(image)
            if n not in found and key is not None and mine[key] == 1 and len(there.get(key, [])) == 1:
                found[n] = there[key][0]
                taken.add(there[key][0])
    return found


def _file(image: AnnotatedImage) -> str | None:
    return None if image.entry.file is None else str(Path(image.entry.file).resolve())


def _name(image: AnnotatedImage) -> str:
    return image.name


def _base_name(image: AnnotatedImage) -> str:
    return PurePosixPath(image.name).name


def _stem(image: AnnotatedImage) -> str:
    return PurePosixPath(image.entry.key).stem
