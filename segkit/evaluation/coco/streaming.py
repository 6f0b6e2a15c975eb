"""Scores of predictions batch by batch: each batch is matched at once, and only sums are left to the end.

The same engine matches as for files. The outcome of each detection is kept (some bytes), its mask is not. The numbers
equal those of ``score_results`` on everything at once, to the bit.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from segkit.choices import EngineName
from segkit.data.records import Dataset, Image, Result
from segkit.evaluation.coco.accumulate import accumulate
from segkit.evaluation.coco.areas import COCO_AREAS
from segkit.evaluation.coco.engine import IouType, PrecisionRecall, engine_name, engine_warnings
from segkit.evaluation.coco.ids import IntegerIds, category_names
from segkit.evaluation.coco.inputs import check_comparable, prepare_inputs, resolve_max_dets
from segkit.evaluation.coco.instance_metrics import (
    COCO_MAX_DETS,
    max_dets_list,
    metrics_of,
    with_size_classes,
    zero_id_warning,
)
from segkit.evaluation.coco.outcomes import Outcomes, match_detections, merge
from segkit.evaluation.coco.plausible import limit_warning
from segkit.evaluation.metrics import InstanceMetrics, Metrics

Parts = dict[tuple[IouType, bool], list[Outcomes]]  # by IoU type, and whether annotations have ids from 1


class Stream:
    """The outcomes of the detections in the images so far.

    Args:
        dataset: The ground truth.
        iou_types: Any of segm and bbox.
        max_dets: ``auto`` or a number.
        engine: What matches.
        areas: Edges of size classes that are scored besides COCO's.

    Raises:
        InputError: Masks are compared, and no annotation has one.
    """

    def __init__(
        self,
        dataset: Dataset,
        iou_types: Sequence[IouType],
        max_dets: str = "auto",
        engine: EngineName = "fast",
        areas: Sequence[float] = (),
    ) -> None:
        check_comparable(dataset, iou_types)
        self._dataset, self._iou_types, self._engine, self._areas = dataset, iou_types, engine, areas
        self._max_dets = resolve_max_dets(dataset, max_dets)
        self._ids = IntegerIds.of(dataset)
        self._annotations = dataset.annotations_of()
        # With the annotation id 0, COCOeval's own numbers and those with ids from 1 are computed.
        zero = any(a.id == 0 for a in dataset.annotations)
        self._numberings = (False, True) if zero else (False,)
        self.beyond: Counter[tuple[int, int]] = Counter()  # results by image and category, where there are too many
        self.parts: Parts = {(iou_type, new_ids): [] for iou_type in iou_types for new_ids in self._numberings}

    def add(self, images: Sequence[Image], results: Sequence[Result]) -> None:
        """Match the results of some images; each image comes once, with all of its results.

        Raises:
            InputError: A result lacks what is compared.
        """
        if not images or not self._iou_types:
            return
        annotations = tuple(a for image in images for a in self._annotations.get(image.id, ()))
        part = Dataset(tuple(images), annotations, self._dataset.categories, self._dataset.images_dir)
        inputs = prepare_inputs(part, results, self._iou_types, self._ids)
        counts = Counter((r["image_id"], r["category_id"]) for r in inputs.results)
        self.beyond.update({place: number for place, number in counts.items() if number > self._max_dets})
        for iou_type, new_ids in self.parts:
            only_reference = True in self._numberings and not new_ids  # only pycocotools miscounts the id 0
            engine: EngineName = "pycocotools" if only_reference else self._engine
            numbered = inputs.renumbered() if new_ids else inputs
            found = match_detections(numbered, iou_type, self._max_dets, engine, self._areas)
            self.parts[iou_type, new_ids].append(found)

    def finish(self, ranks: Sequence[Parts], beyond: Mapping[tuple[int, int], int] = {}) -> Metrics:
        """The metrics of all images, from the ``parts`` and the ``beyond`` of all ranks."""
        names = category_names(self._dataset, self._ids)
        metrics: dict[str, InstanceMetrics] = {}
        for iou_type in self._iou_types:
            evaluations = [
                self._evaluation([outcomes for parts in ranks for outcomes in parts[iou_type, new_ids]])
                for new_ids in self._numberings
            ]
            metrics[iou_type] = metrics_of(evaluations[0], names, *evaluations[1:])
        metrics = with_size_classes(metrics, self._areas, self._dataset.annotations)
        return Metrics(
            images=len(self._dataset.images),
            max_dets=self._max_dets,
            engine=engine_name(self._engine) if self._iou_types else None,
            segm=metrics.get("segm"),
            bbox=metrics.get("bbox"),
            warnings=[
                *zero_id_warning(metrics),
                *limit_warning(beyond, self._max_dets),
                *engine_warnings(self._engine),
            ],
        )

    def _evaluation(self, parts: list[Outcomes]) -> PrecisionRecall:
        ids = sorted(self._ids.categories.values())
        max_dets = max_dets_list(self._max_dets)
        merged = merge(parts, len(ids), len(COCO_AREAS) + len(self._areas))
        return accumulate(merged, ids, max_dets, curves_from=len(COCO_MAX_DETS) - 1)
