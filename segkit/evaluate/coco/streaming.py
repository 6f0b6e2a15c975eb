"""Scores of predictions as they come: each batch is matched while the next is predicted, only sums are left to the end.

The same engine matches as for files; what became of each detection is kept (some bytes), its mask is not. The numbers
equal those of ``score_results`` on everything at once, to the bit.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from segkit.data.records import Dataset, Image, Result
from segkit.evaluate.coco.accumulate import accumulate
from segkit.evaluate.coco.engine import (
    EngineName,
    Evaluation,
    IouType,
    Outcomes,
    engine_name,
    engine_warnings,
    outcomes,
)
from segkit.evaluate.coco.inputs import (
    Numbers,
    category_names,
    check_comparable,
    max_dets_needed,
    pair_of,
    renumbered,
)  # fmt: skip
from segkit.evaluate.coco.instance_metrics import COCO_CAPS, caps_of, metrics_of, zero_id_warning
from segkit.evaluate.metrics import InstanceMetrics, Metrics

Parts = dict[tuple[IouType, bool], list[Outcomes]]  # by what is compared, and whether ids were made to start at 1


class Stream:
    """What became of the detections in the pictures so far.

    Raises:
        InputError: Masks are to be compared, and no annotation has one.
    """

    def __init__(
        self, dataset: Dataset, kinds: Sequence[IouType], max_dets: str = "auto", engine: EngineName = "fast"
    ) -> None:
        check_comparable(dataset, kinds)
        self.dataset, self.kinds, self.engine = dataset, kinds, engine
        self.cap = max_dets_needed(dataset, max_dets)
        self.numbers = Numbers.of(dataset)
        self.from_zero = any(a.id == 0 for a in dataset.annotations)
        self.annotations = dataset.annotations_of()
        self.parts: Parts = {(kind, right): [] for kind in kinds for right in self._ways()}

    def _ways(self) -> tuple[bool, ...]:
        return (False, True) if self.from_zero else (False,)

    def add(self, images: Sequence[Image], results: Sequence[Result]) -> None:
        """Match the results of some pictures; each picture comes once, with all of its results.

        Raises:
            InputError: A result lacks what is compared.
        """
        if not self.kinds:
            return
        annotations = tuple(a for image in images for a in self.annotations.get(image.id, ()))
        part = Dataset(tuple(images), annotations, self.dataset.categories, self.dataset.images_dir)
        pair = pair_of(part, results, self.kinds, self.numbers)
        for kind, right in self.parts:
            truth = renumbered(pair.truth) if right else pair.truth
            engine = "pycocotools" if self.from_zero and not right else self.engine  # only it errs on the id 0
            self.parts[kind, right].append(outcomes(truth, pair.results, kind, self.cap, engine))

    def finish(self, gathered: Iterable[Parts] | None = None) -> Metrics:
        """The numbers of all pictures.

        Args:
            gathered: The ``parts`` of every rank; None: this one had all pictures.
        """
        everything = list(gathered) if gathered is not None else [self.parts]
        found: dict[str, InstanceMetrics] = {}
        for kind in self.kinds:
            wholes = [
                self._evaluation([part for parts in everything for part in parts[kind, right]])
                for right in self._ways()
            ]
            found[kind] = metrics_of(wholes[0], category_names(self.dataset, self.numbers), *wholes[1:])
        return Metrics(
            images=len(self.dataset.images),
            max_dets=self.cap,
            engine=engine_name(self.engine) if self.kinds else None,
            segm=found.get("segm"),
            bbox=found.get("bbox"),
            warnings=[*zero_id_warning(list(found.items())), *engine_warnings(self.engine)],
        )

    def _evaluation(self, parts: list[Outcomes]) -> Evaluation:
        ids = sorted(self.numbers.categories.values())
        return accumulate(merge(parts, len(ids)), ids, caps_of(self.cap), curves_from=len(COCO_CAPS) - 1)


def merge(parts: Sequence[Outcomes], num_categories: int) -> Outcomes:
    """One record of many, in COCOeval's order: by category, image id, falling score."""
    if not parts:
        none = np.zeros(0, np.int64)
        return Outcomes(
            none, none, none, np.zeros(0), np.zeros((4, 0, 10), np.uint8), np.zeros((4, num_categories), int)
        )
    slot, image, rank = (np.concatenate([getattr(p, name) for p in parts]) for name in ("slot", "image", "rank"))
    order = np.lexsort((image, slot))  # stable: ranks rise within each already
    return Outcomes(
        slot[order],
        image[order],
        rank[order],
        np.concatenate([part.score for part in parts])[order],
        np.concatenate([part.outcome for part in parts], axis=1)[:, order],
        np.sum([part.positives for part in parts], axis=0),
    )
