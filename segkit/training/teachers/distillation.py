"""Distillation: a small model learns from annotations, and from what a larger one makes of the same images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segkit.errors import ConfigError
from segkit.models.tensors import Target
from segkit.training.teachers.find import TeacherFile
from segkit.training.teachers.lessons import Lesson
from segkit.training.teachers.recording import recording
from segkit.training.teachers.teaching import Phase, Teaching


class Distillation(Teaching):
    """Adds losses that compare the student with a teacher on the very same images and regions.

    Attributes:
        teacher: The teacher, in evaluation mode; it learns nothing.
    """

    def __init__(self, teacher: nn.Module, lesson: Lesson, weight: float, file: TeacherFile) -> None:
        """Take over a model that teaches.

        Args:
            teacher: It, on the student's device.
            lesson: How both are compared.
            weight: Of the losses.
            file: Where it is from.
        """
        self.teacher = teacher.eval().requires_grad_(False)
        self._lesson, self._weight, self._file = lesson, weight, file

    def losses(
        self, module: nn.Module, images: Sequence[Tensor], targets: Sequence[Target], phase: Phase
    ) -> dict[str, Tensor]:
        """See ``Teaching``."""
        with phase("forward"), recording(module, self._lesson.parts) as calls:
            losses: dict[str, Tensor] = module(images, targets)
        with phase("teacher"), torch.no_grad():
            answers = self._lesson.answers(self.teacher, calls)
        with phase("forward"):
            compared = self._lesson.losses(calls, answers, targets)
            return losses | {name: self._weight * value for name, value in compared.items()}

    def to_plain(self) -> dict[str, Any]:
        """See ``Teaching``."""
        return {"teacher": self._file.digest}

    def restore(self, plain: dict[str, Any]) -> None:
        """See ``Teaching``."""
        if plain.get("teacher", self._file.digest) != self._file.digest:
            raise ConfigError(
                f"{self._file.path}: is not the teacher any more that the run began with",
                "bring the file back, or start a new run",
            )
