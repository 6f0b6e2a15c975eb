"""A mean teacher: the average of the student's own weights labels images that nobody has annotated.

After Tarvainen and Valpola 2017 (https://arxiv.org/abs/1703.01780), and for detectors Unbiased Teacher (Liu et al.
2021) and Soft Teacher (Xu et al. 2021, https://arxiv.org/abs/2106.09018): the model first learns from labels alone;
then the teacher sees a weak view of each further image, and the student learns from a strong view what the teacher is
sure of. At the switch the teacher is no better than the student; so the weight of what it finds rises slowly, by the
curve of Tarvainen and Valpola.
"""

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segkit.errors import SegkitError
from segkit.loading.whole import Sample
from segkit.models.backbones import statistics_kept
from segkit.models.tensors import Target
from segkit.runtime.ranks import Ranks
from segkit.training.teachers.pseudo_labels import Labeller, Rehearsed
from segkit.training.teachers.teaching import Phase, Teaching

SWITCH = 0.5  # of the run: before, labels alone are learnt; a teacher that has just begun teaches its errors
_RISE = 0.25  # of the run: so long the weight of pseudo-labels rises after the switch
_LEAST_WEIGHT = 1 / 8  # of the first weight: with less, pseudo-labels are given up

Batches = Generator[list[Sample | SegkitError]]


class MeanTeacher(Teaching):
    """Learns from annotations, and from the switch on also from what its own average finds in further images."""

    def __init__(self, annotated: Teaching, teacher: nn.Module, labeller: Labeller, weight: float, num: int) -> None:
        """Labels alone at first.

        Args:
            annotated: How annotated images are learnt from.
            teacher: A model whose tensors are the student's average itself.
            labeller: Makes targets of its answers.
            weight: Of the losses of pseudo-labels.
            num: How many images there are without annotations.
        """
        self._annotated, self._labeller = annotated, labeller
        self.teacher = teacher.eval().requires_grad_(False)
        self.weight = self._first = weight
        self._num = num
        self.switched: int | None = None
        self._since = 0.0  # the fraction of the run that was over at the switch
        self._risen = 1.0  # the share of the weight that counts
        self.before: float | None = None
        self.alone: float | None = None
        self.best: float | None = None
        self._kept = self._shown = 0
        self._source: Batches | None = None

    def rehearsed(self) -> "MeanTeacher":
        """See ``Teaching``."""
        labeller = Rehearsed(self._labeller)
        other = MeanTeacher(self._annotated.rehearsed(), self.teacher, labeller, self._first, self._num)
        other.switched = 0
        return other

    @property
    def annotated(self) -> Teaching:
        """See ``Teaching``."""
        return self._annotated

    @property
    def compares(self) -> bool:
        """See ``Teaching``: while pseudo-labels are learnt from."""
        return self._active

    @property
    def _active(self) -> bool:
        return self.switched is not None and self.weight > 0

    def more(self, load: Callable[[], Batches]) -> list[Sample | SegkitError]:
        """See ``Teaching``."""
        if not self._active:
            self.close()
            return []
        self._source = self._source or load()
        return next(self._source)

    def close(self) -> None:
        """See ``Teaching``."""
        if self._source is not None:
            self._source.close()
        self._source = None

    def begin(self) -> None:
        """See ``Teaching``."""
        self._labeller.thresholds.begin()
        self._new = [0, 0]

    def end(self, ranks: Ranks) -> None:
        """See ``Teaching``."""
        if self._active:
            self._labeller.thresholds.end(ranks)
            kept, shown = ranks.sum(self._new)
            self._kept, self._shown = self._kept + int(kept), self._shown + int(shown)

    def losses(
        self, module: nn.Module, images: Sequence[Tensor], targets: Sequence[Target], phase: Phase
    ) -> dict[str, Tensor]:
        """See ``Teaching``; all losses of pseudo-labels are one, as there may be none."""
        if "weak" not in targets[0]:
            return self._annotated.losses(module, images, targets, phase)
        with phase("teacher"), torch.no_grad():
            labelled = self._labeller.label(self.teacher, targets)
        kept = [pair for pair in zip(images, labelled, strict=True) if pair[1] is not None]
        self._new = [self._new[0] + len(kept), self._new[1] + len(images)]
        with phase("forward"):
            if not kept:
                first = next(p for p in module.parameters() if p.requires_grad)
                return {"unlabelled": first.flatten()[0] * 0}
            with statistics_kept(module):  # those of strong views are not those of the images that are predicted
                found = module(*map(list, zip(*kept, strict=True)))
            values = [value for name, value in found.items() if name not in self._labeller.left_out]
            return {"unlabelled": torch.stack(values).sum() * (self.weight * self._risen * len(kept) / len(images))}

    def switches(self, step: int, done: float) -> bool:
        """See ``Teaching``."""
        if self.switched is not None:
            self._risen = risen((done - self._since) / _RISE)
            return False
        if done < SWITCH:
            return False
        self.switched, self._since, self._risen = step, done, risen(0.0)
        return True

    def after_evaluation(self, name: str, value: float | None, step: int, alone: float | None = None) -> str | None:
        """See ``Teaching``: where labels alone do better, pseudo-labels count for less, and else for more again."""
        if self.switched is None or value is None:
            return None
        if self.before is None:
            self.before = value
            return f"from here on {self._num} unlabelled images are learnt from, too ({name} {value:.3f} without)"
        self.best = value if self.best is None else max(value, self.best)
        if alone is None or not self.weight:
            return None
        self.alone = alone if self.alone is None else max(alone, self.alone)
        if value >= alone:
            self.weight = min(2 * self.weight, self._first)
            return None
        self.weight = self.weight / 2 if self.weight / 2 >= _LEAST_WEIGHT * self._first else 0.0
        told = f"the weight of pseudo-labels is {self.weight:g} now" if self.weight else "pseudo-labels are given up"
        return (
            f"step {step}: {name} {value:.3f} with unlabelled images, {alone:.3f} without: going on from there; {told}"
        )

    def to_plain(self) -> dict[str, Any]:
        """See ``Teaching``."""
        names = ("switched", "before", "alone", "best", "weight", "_kept", "_shown", "_since", "_risen")
        own = {name.strip("_"): getattr(self, name) for name in names}
        return self._annotated.to_plain() | own | {"thresholds": self._labeller.thresholds.to_plain()}

    def restore(self, plain: dict[str, Any]) -> None:
        """See ``Teaching``."""
        self._annotated.restore(plain)
        if "thresholds" in plain:
            self._labeller.thresholds.restore(plain["thresholds"])
            self.switched, self.before, self.best = plain["switched"], plain["before"], plain["best"]
            self.alone = plain.get("alone")  # an older run did not compare
            self.weight, self._kept, self._shown = plain["weight"], plain["kept"], plain["shown"]
            self._risen = plain.get("risen", 1.0)  # an older run has no rise,
            self._since = plain.get("since", -math.inf)  # and goes on without one

    def gave(self, categories: Sequence[str]) -> dict[str, Any]:
        """See ``Teaching``."""
        least = self._labeller.thresholds.of_labels().round(2).tolist()
        return {
            "images": self._num,
            "from_step": self.switched,
            "at_switch": self.before,
            "labels_alone": self.alone,
            "best_after": self.best,
            "weight": self.weight,
            "used": self._kept,
            "shown": self._shown,
            "thresholds": dict(zip(categories, least[1:], strict=True)),
        }


def risen(over: float) -> float:
    """The share of its weight that pseudo-labels have, when so much of their rise is over (Tarvainen and Valpola)."""
    return math.exp(-5 * (1 - min(1.0, over)) ** 2)


def with_weak_view(sample: Sample) -> Sample:
    """An annotated image as one without annotations, for rehearsals: its target is what the teacher will find."""
    return sample._replace(target={**sample.target, "weak": sample.image.clone()})
