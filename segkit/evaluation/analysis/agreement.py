"""How far two people agree who annotated the same images: the same whoever comes first, but for AP.

Two instances of an image are of one object if their IoU is at least 0.5; pairs are chosen so that the sum of their IoU
is the largest (Kuhn, 1955), as neither side has scores. With categories: PQ (Kirillov et al., 2019), whose F1 is RQ.
Without: Cohen's kappa of the categories of the pairs (Cohen, 1960).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from segkit.data.masks import Box, box_ious, mask_ious, to_rle
from segkit.data.outline_distance import OutlineDistance, outline_distance
from segkit.data.records import Dataset, Result

_SAME = 0.5
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two instances of one object: their categories, IoU, and the distance of their outlines, where there are masks."""

    first: int
    second: int
    iou: float
    distance: OutlineDistance | None


@dataclass(frozen=True, slots=True)
class _ImagePairs:
    """One image: pairs of one category, pairs of any, and the categories of all instances of both sides."""

    name: str
    pairs: list[_Pair]
    any_category: list[_Pair]
    first: list[int]
    second: list[int]

    def figures(self) -> dict[str, Any]:
        """Counts and PQ."""
        return _figures(len(self.first), len(self.second), self.pairs)


def agreement_of(dataset: Dataset, results: Sequence[Result]) -> dict[str, Any]:
    """Agreement by category and overall, and the images where the two differ most.

    Args:
        dataset: What one annotated; crowds take no part.
        results: What the other annotated, with any scores.

    Returns:
        Plain values, with the images worst first.
    """
    names = {category.id: category.name for category in dataset.categories}
    images = _images(dataset, results)
    per_category = {}
    for number, name in names.items():
        first, second = (sum(side.count(number) for side in sides) for sides in
                         ([i.first for i in images], [i.second for i in images]))  # fmt: skip
        if first or second:
            pairs = [pair for image in images for pair in image.pairs if pair.first == number]
            per_category[name] = _figures(first, second, pairs)
    pairs = [pair for image in images for pair in image.pairs]
    overall = _figures(sum(len(i.first) for i in images), sum(len(i.second) for i in images), pairs)
    overall["PQ_mean"] = float(np.mean([each["PQ"] for each in per_category.values()])) if per_category else None
    both = [pair for image in images for pair in image.any_category]
    rows = sorted(
        ({"file_name": image.name} | image.figures() for image in images if image.first or image.second),
        key=lambda row: (row["PQ"], -row["only_first"] - row["only_second"], row["file_name"]),
    )
    return {
        "iou": _SAME,
        "overall": overall,
        "per_category": per_category,
        "categories": {"pairs": len(both), "same": sum(p.first == p.second for p in both), "kappa": _kappa(both),
                       "confused": _confused(both, names)},
        "pictures": rows,
    }  # fmt: skip


def _images(dataset: Dataset, results: Sequence[Result]) -> list[_ImagePairs]:
    truth, found = dataset.annotations_of(), defaultdict(list)
    for result in results:
        found[result.image_id].append(result)
    out = []
    for image in dataset.images:
        one = [each for each in truth.get(image.id, []) if not each.iscrowd]
        two, size = found.get(image.id, []), (image.height, image.width)
        masks = all(a.segmentation for a in one) and all(r.segmentation for r in two)
        if masks:
            first = [to_rle(each.segmentation or [], *size) for each in one]
            second = [to_rle(each.segmentation or [], *size) for each in two]
            iou = mask_ious(second, first, [False] * len(first)).T  # [first, second]
        else:
            first, second = [], []
            iou = box_ious([_box(each.bbox) for each in two], [a.bbox for a in one], [False] * len(one)).T
        kinds = ([a.category_id for a in one], [r.category_id for r in two])
        same = np.array(kinds[0])[:, None] == np.array(kinds[1])[None] if one and two else np.zeros(iou.shape, bool)

        def pair(
            i: int, j: int, iou: Floats = iou, first: Any = first, second: Any = second, kinds: Any = kinds
        ) -> _Pair:
            distance = outline_distance(first[i], second[j]) if first and second else None
            return _Pair(kinds[0][i], kinds[1][j], float(iou[i, j]), distance)

        out.append(
            _ImagePairs(
                image.file_name,
                [pair(i, j) for i, j in _assigned(iou * same)],
                [pair(i, j) for i, j in _assigned(iou)],
                *kinds,
            )
        )
    return out


def _box(box: Box | None) -> Box:
    return box or (0.0, 0.0, 0.0, 0.0)


def _assigned(iou: Floats) -> list[tuple[int, int]]:
    """The pairs of which each instance has one at most, and whose IoU together is the largest."""
    if not iou.size:
        return []
    rows, columns = linear_sum_assignment(np.where(iou >= _SAME, iou, 0.0), maximize=True)
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if iou[i, j] >= _SAME]


def _figures(first: int, second: int, pairs: Sequence[_Pair]) -> dict[str, Any]:
    distances = [pair.distance for pair in pairs if pair.distance is not None]
    together, matched = first + second, len(pairs)
    iou = sum(pair.iou for pair in pairs)
    return {
        "first": first,
        "second": second,
        "agreed": matched,
        "only_first": first - matched,
        "only_second": second - matched,
        "F1": 2 * matched / together if together else 0.0,
        "PQ": 2 * iou / together if together else 0.0,
        "mean_IoU": iou / matched if matched else None,
        "outline_distance": float(np.mean([each.mean for each in distances])) if distances else None,
        "hausdorff95": float(np.mean([each.hausdorff95 for each in distances])) if distances else None,
    }


def _kappa(pairs: Sequence[_Pair]) -> float | None:
    """Cohen's kappa of the categories of pairs; None where chance explains everything, or there are none."""
    if not pairs:
        return None
    numbers = sorted({number for pair in pairs for number in (pair.first, pair.second)})
    one, two = ([getattr(pair, side) for pair in pairs] for side in ("first", "second"))
    observed = sum(a == b for a, b in zip(one, two, strict=True)) / len(pairs)
    chance = sum(one.count(number) * two.count(number) for number in numbers) / len(pairs) ** 2
    return (observed - chance) / (1 - chance) if chance < 1 else None


def _confused(pairs: Sequence[_Pair], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The pairs of different categories, the most frequent ones first."""
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for pair in pairs:
        if pair.first != pair.second:
            counts[pair.first, pair.second] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"first": names[a], "second": names[b], "count": count} for (a, b), count in ordered]
