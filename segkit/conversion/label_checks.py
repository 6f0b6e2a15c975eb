"""Labels that may be mistakes: names that differ by accident, numbers in names, categories that a split lacks."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Concern = Literal["similar names", "number in name", "missing in split", "few instances"]

# Letters of other scripts that look like Latin ones (a part of Unicode's confusables, TR 39).
_LOOK_ALIKE = str.maketrans(
    "аеорсухіјѕһԁԛԝАВЕКМНОРСТХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαν０１２３４５６７８９",
    "aeopcyxijshdqwABEKMHOPCTXIJSABEZHIKMNOPTYXoav0123456789",
)
_NUMBER = re.compile(r"(.*\D)[-_ #.]?(\d+)")
_FEW = 5


@dataclass(frozen=True, slots=True)
class Advice:
    """A remark on labels, with the option that corrects it where there is one."""

    concern: Concern
    labels: tuple[str, ...]
    why: str
    remedy: str | None = None


def inspect_labels(counts: Mapping[str, int], by_split: Mapping[str, Counter[str]]) -> tuple[Advice, ...]:
    """Find labels that may be mistakes.

    Args:
        counts: Instances by label.
        by_split: The same in each split.
    """
    used = {label: count for label, count in counts.items() if count}
    return (*_similar(used), *_numbered(used), *_missing(counts, by_split), *_few(used))


def _similar(counts: Mapping[str, int]) -> list[Advice]:
    """Names that are equal without case, spaces, accents, look-alike letters and plurals."""
    same: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        same[_bare(label)].append(label)
    advice = []
    for labels in same.values():
        if len(labels) > 1:
            ordered = sorted(labels, key=lambda label: (-counts[label], label))
            names = ", ".join(f"{label!r} ({counts[label]})" for label in ordered)
            renames = ",".join(f"{label}={ordered[0]}" for label in ordered[1:])
            plain = not any(set(label) & set("=,") or label != label.strip() for label in ordered)
            remedy = f"--map {renames!r}" if plain else "rename them in LabelMe"
            advice.append(Advice("similar names", tuple(ordered), f"{names} differ by {_difference(ordered)}", remedy))
    return sorted(advice, key=lambda each: each.labels)


def _bare(label: str) -> str:
    """A name without everything that may differ by accident."""
    text = _without_accents(label.translate(_LOOK_ALIKE)).casefold()
    text = re.sub(r"[\W_]+", "", text) or label
    if re.search(r"(ss|us|is)$", text) or len(text) < 4:
        return text
    return re.sub(r"(?<=[^aeiou])ies$", "y", text) if text.endswith("ies") else re.sub(r"(?<=x|h)es$|s$", "", text)


def _without_accents(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")


def _difference(labels: Sequence[str]) -> str:
    """The difference between names: the first one without which they are equal."""
    steps = (
        ("spaces", lambda text: re.sub(r"\s+", "", text)),
        ("the way that accents are stored", lambda text: unicodedata.normalize("NFC", text)),
        ("capital letters", str.casefold),
        ("accents", _without_accents),
        ("letters of another script that look the same", lambda text: text.translate(_LOOK_ALIKE)),
        ("spaces, dashes or underscores", lambda text: re.sub(r"[\W_]+", "", text)),
    )
    for name, simplify in steps:
        if len({simplify(label) for label in labels}) == 1:
            return name
    return "a plural" if len({re.sub(r"e?s$", "", label) for label in labels}) == 1 else "more than one of these"


def _numbered(counts: Mapping[str, int]) -> list[Advice]:
    """``person-1``, ``person-2``: instance numbers, which LabelMe has had ``group_id`` for since 4.0."""
    stems: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        if match := _NUMBER.fullmatch(label):
            stems[match[1].rstrip("-_ #.")].append(label)
    advice = []
    for stem, labels in sorted(stems.items()):
        if len(labels) > 1 or stem in counts:
            ordered = tuple(sorted(labels))
            renames = ",".join(f"{label}={stem}" for label in ordered)
            why = f"{', '.join(ordered)}: each is a category of its own; are they instances of {stem!r}?"
            advice.append(Advice("number in name", ordered, why, f"--map {renames!r}"))
    return advice


def _missing(counts: Mapping[str, int], by_split: Mapping[str, Counter[str]]) -> list[Advice]:
    advice = []
    for split, there in by_split.items():
        if lacking := tuple(label for label in counts if counts[label] and not there[label]):
            names = ", ".join(f"{label!r} ({counts[label]} in all)" for label in lacking)
            why = f"{split} has no instance of {names}"
            advice.append(Advice("missing in split", lacking, why, "annotate more, or try another --seed"))
    return advice


def _few(counts: Mapping[str, int]) -> list[Advice]:
    few = tuple(sorted(label for label, count in counts.items() if count < _FEW))
    if not few or len(few) == len(counts):
        return []
    names = ", ".join(f"{label!r} ({counts[label]})" for label in few)
    why = f"too few instances to train on: {names}"
    return [Advice("few instances", few, why, "annotate more, or leave them out with --map")]
