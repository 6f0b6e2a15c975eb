"""A COCO annotation file as a whole: its images and categories, and what is wrong with them.

train, eval and convert read files by ``read_document``. What cannot be used is named; convert leaves it out, and the
others end with an error.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from segkit.data.records import Action, Category, Finding, Image, Uncovered, replace_surrogates
from segkit.formats.coco.kinds import check_kind
from segkit.formats.coco.names import with_distinct_names
from segkit.formats.coco.not_kept import not_kept
from segkit.formats.coco.segmentation import shown
from segkit.formats.coco.values import identity, read_record
from segkit.formats.json_file import read_json
from segkit.formats.pictures.find import base_name
from segkit.formats.pictures.look import declared_size
from segkit.units import counted

_Record = TypeVar("_Record", Image, Category)


class Unusable(NamedTuple):
    """An image or a category that cannot be used, and why; ``id`` is None where it has none."""

    what: str
    id: Any
    why: str


@dataclass(frozen=True, slots=True)
class Document:
    """The content of an annotation file.

    Attributes:
        images: Those that can be used; a size is 0 where the file does not have it.
        categories: Those that can be used, under names that differ.
        annotations: As they stand in the file.
        urls: The ends of the URLs of images, by id.
        uncovered: What pixels under no annotation are.
        unusable: The images and categories that cannot be used.
        repairs: Sentences on the file as a whole: what was repaired.
        lost: Sentences on what a conversion does not keep.
        noted: Sentences on what else it does not keep: no annotation is the poorer for it.
        stuff: The ids of categories that are stuff (``isthing`` 0).
    """

    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    annotations: list[Any]
    urls: dict[Any, str]
    uncovered: Uncovered
    unusable: tuple[Unusable, ...] = ()
    repairs: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()
    stuff: frozenset[Any] = frozenset()

    def findings(self, key: str) -> Iterator[Finding]:
        """Findings on the file as a whole; ``key`` is its name in reports."""
        kinds: tuple[tuple[Action, tuple[str, ...]], ...] = (
            ("repaired", self.repairs),
            ("changed", self.lost),
            ("noted", self.noted),
        )
        yield from (Finding(key, action, why, shapes=0) for action, sentences in kinds for why in sentences)
        yield from (Finding(key, "left out", each.why, shapes=0) for each in self.unusable)


def read_document(path: Path, *, panoptic: bool = False) -> Document:
    """Read an annotation file of instances, or of panoptic segmentation.

    Args:
        path: The file.
        panoptic: Which of them it is.

    Raises:
        NoInstances: It is another of COCO's files.
        InputError: It is none.
    """
    top = read_json(path)
    check_kind(path, top, panoptic)
    found = _Found()
    images = found.all(_image, top["images"], "image")
    annotations: list[Any] = top["annotations"]
    listed = top.get("categories")
    if not listed and annotations and not panoptic:
        listed = [{"id": each, "name": f"class_{each}"} for each in _category_ids(annotations)]
        found.repairs.append("the file has no categories: they are named after their ids")
    if nameless := sum(isinstance(each, dict) and each.get("name") in (None, "") for each in listed or []):
        found.repairs.append(f"{counted(nameless, 'category has', 'categories have')} no name: named after the id")
    categories = with_distinct_names(found.all(_category, listed or [], "category"), listed or [], found.repairs)
    found.repairs += _mixed_ids(annotations, "image_id", top["images"], images)
    found.repairs += _mixed_ids(annotations, "category_id", listed or [], categories)
    lost, noted = not_kept(top)
    return Document(
        tuple(images),
        tuple(categories),
        annotations,
        _image_urls(top["images"]),
        _uncovered_pixels(top, listed) if panoptic else _uncovered_pixels(top, []),
        tuple(found.unusable),
        tuple(found.repairs),
        lost,
        noted,
        frozenset(_stuff(listed or []) & {category.id for category in categories}),
    )


def _stuff(categories: Sequence[Any]) -> set[Any]:
    """The ids of categories that are stuff."""
    return {_plain_id(raw) for raw in categories if isinstance(raw, dict) and raw.get("isthing") in (0, "0")}


@dataclass(slots=True)
class _Found:
    """What is noticed while records are read."""

    unusable: list[Unusable] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)

    def all(self, read: Callable[[dict[str, Any]], _Record], records: Iterable[Any], what: str) -> list[_Record]:
        """The records that can be used: valid ones, each with an id of its own."""
        by_id: dict[Any, list[_Record]] = defaultdict(list)
        for number, raw in enumerate(records):
            try:
                record = read_record(raw, "", read)
            except ValueError as error:
                own = raw.get("id") if isinstance(raw, dict) else None
                self.unusable.append(Unusable(what, _plain_id(raw), f"{what} {shown(own or number)}: {error}"))
            else:
                by_id[record.id].append(record)
        again = 0
        kept: list[_Record] = []
        for number, same in by_id.items():
            names = list(dict.fromkeys(_name_of(each) for each in same))
            if len(names) > 1:
                few = ", ".join(repr(name) for name in names[:3])
                self.unusable.append(Unusable(what, number, f"{what} id {number} is that of {len(names)}: {few}"))
                continue
            again += len(same) - 1
            kept.append(same[0])
        if again:
            self.repairs.append(f"{again} {what} records are there twice: the first is used")
        return kept


def _name_of(record: Image | Category) -> str:
    return record.file_name if isinstance(record, Image) else record.name


def _plain_id(raw: Any, key: str = "id") -> Any:
    """The id in a record; None where it has none."""
    try:
        return identity(raw, key)
    except (ValueError, TypeError):
        return None


def _category(raw: dict[str, Any]) -> Category:
    number, name = identity(raw, "id"), raw.get("name")
    if name is None or name == "":
        return Category(number, f"class_{number}")
    return Category(number, replace_surrogates(name if isinstance(name, str) else shown(name)))


def _category_ids(annotations: Sequence[Any]) -> list[Any]:
    """The ids of categories that annotations have, sorted; only for files that do not list them."""
    found = set()
    for raw in annotations:
        try:
            found.add(identity(raw, "category_id"))
        except (ValueError, TypeError):
            continue
    return sorted(found, key=lambda each: (isinstance(each, str), each))


def _mixed_ids(
    annotations: Sequence[Any], key: str, records: Sequence[Any], known: Sequence[Image | Category]
) -> list[str]:
    """A sentence where annotations write ids in another way than the records that they are of."""
    own = {isinstance(raw.get("id"), str) for raw in records if isinstance(raw, dict)}
    odd = [raw for raw in annotations if isinstance(raw, dict) and isinstance(raw.get(key), str) not in own]
    if not odd:
        return []
    ids = {record.id for record in known}
    other = sum(_plain_id(raw, key) in ids for raw in odd)
    if not other:
        return []
    return [f"{key} of {other} annotations is text where the id is a number, or the reverse: they are matched"]


def _image(raw: dict[str, Any]) -> Image:
    """An image's record; height and width are 0 where the file does not have them, or they are no sizes."""
    name = raw.get("file_name") or base_name(_url(raw)) or str(raw.get("id"))
    if not isinstance(name, str):
        raise ValueError(f"file_name is {shown(name)}, not a string")
    height, width = declared_size(raw.get("height"), raw.get("width")) or (0, 0)
    flags = raw.get("flags")
    flags = [flag for flag in flags if isinstance(flag, str)] if isinstance(flags, list) else []
    return Image(identity(raw, "id"), name, height, width, tuple(flags))


def _url(raw: dict[str, Any]) -> str:
    return next((url for key in ("coco_url", "flickr_url") if isinstance(url := raw.get(key), str) and url), "")


def _image_urls(images: Sequence[Any]) -> dict[Any, str]:
    """The ends of URLs (folder and file) by image id, of the records that have one: LVIS has nothing else."""
    found = ((_plain_id(raw), _url(raw)) for raw in images if isinstance(raw, dict))
    return {number: "/".join(url.partition("?")[0].split("/")[-2:]) for number, url in found if url}


def _uncovered_pixels(top: dict[str, Any], categories: Any) -> Uncovered:
    """What pixels under no annotation are, as ``info`` of a document has it; unlabelled where there is stuff."""
    info = top.get("info")
    said = info.get("uncovered") if isinstance(info, dict) else None
    return "ignore" if said == "ignore" or (said != "background" and _stuff(categories or [])) else "background"
