"""``label --next``: which pictures without annotations would teach a model most."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from segkit.config.label import LabelConfig
from segkit.data.files import list_files
from segkit.data.pictures import PICTURE_SUFFIXES
from segkit.data.pixels import thumbnail
from segkit.errors import InputError
from segkit.formats.labelme.file import read_labelme
from segkit.formats.labelme.find_picture import find_picture
from segkit.inference.input_files import name_pictures
from segkit.inference.model import load
from segkit.progress import SILENT, Progress
from segkit.review.diverse import choose_diverse
from segkit.review.next_folder import NextPicture
from segkit.review.next_plan import NextPlan
from segkit.review.value import Valued, value_pictures
from segkit.runtime.memory_errors import reraise_out_of_memory


def plan_next(config: LabelConfig, progress: Progress = SILENT) -> NextPlan:
    """Predict the pictures without annotations, and choose.

    Raises:
        InputError: There are no such pictures, or no model.
    """
    assert config.next is not None
    _check_into(config)
    pictures = list_files(str(config.folder), PICTURE_SUFFIXES, ())
    annotated, shares = _annotated(config.folder)
    free = {path: name for path, name in pictures if path.resolve() not in annotated}
    if not free:
        what = "no pictures there" if not pictures else f"all of its {len(pictures)} pictures have a LabelMe file"
        raise InputError(f"{config.folder}: {what}", "name a folder that has pictures without annotations")
    with reraise_out_of_memory("try a smaller --batch, or --device cpu"):
        model = load(config.model, config.device, trust=config.trust)
        for note in model.notes:
            progress.note(note)
        valued, failed = value_pictures(model, name_pictures(free), shares, config.batch, progress)
    if not valued:
        raise InputError(f"{config.folder}: no picture can be read: {failed[0]}")
    chosen = choose_diverse(
        [each.value for each in valued],
        [each.thumbnail for each in valued],
        _thumbnails(sorted(annotated)),
        config.next,
    )
    best = tuple((valued[place], gain) for place, gain in chosen)
    return NextPlan(
        model.path,
        config.next_folder,
        best,
        tuple(_next_pictures([each for each, _ in best], config.score)),
        {category.id: category.name for category in model.card.categories},
        len(annotated),
        len(free),
        tuple(failed),
    )


def _check_into(config: LabelConfig) -> None:
    """Refuse a folder inside of DIR: its pictures would be candidates themselves.

    Raises:
        InputError: It is inside.
    """
    root, into = config.folder.resolve(), config.next_folder.resolve()
    if into == root or root in into.parents:
        raise InputError(f"--into {config.next_folder}: is inside of {config.folder}", "choose a folder beside it")


def _annotated(folder: Path) -> tuple[set[Path], dict[str, float]]:
    """The pictures that a LabelMe file below a folder is about, and the share of them that have each label."""
    found: set[Path] = set()
    labels: Counter[str] = Counter()
    for path, key in list_files(str(folder), frozenset({".json"}), ()):
        with suppress(InputError):
            if (file := read_labelme(path, picture=False)) is None:
                continue
            if (picture := find_picture(path, key, file.image_path, None)) is not None:
                found.add(picture.path.resolve())
            labels.update({shape["label"] for shape in file.shapes if isinstance(shape, dict)
                           and isinstance(shape.get("label"), str)})  # fmt: skip
    return found, {label: count / max(len(found), 1) for label, count in labels.items()}


def _thumbnails(pictures: Sequence[Path]) -> list[bytes]:
    found = []
    for path in pictures:
        with suppress(InputError):
            found.append(thumbnail(path) or b"")
    return found


def _next_pictures(chosen: Sequence[Valued], score: float) -> list[NextPicture]:
    """The chosen pictures, and where the annotations of each will be: beside it, in a file that is not there yet."""
    taken: set[Path] = set()
    out = []
    for each in chosen:
        path = each.picture.path
        target = path.with_suffix(".json")
        if target in taken or target.exists():  # that of a picture of the same stem
            target = path.with_name(f"{path.name}.json")
        taken.add(target)
        kept = tuple(result for result in each.results if result.score >= score)
        out.append(NextPicture(path, target, kept, each.height, each.width))
    return out
