"""What a run learns from: chosen by its plan."""

import torch
from torch import nn

from segkit.runs.checkpoint import load_model
from segkit.training.plan import Plan
from segkit.training.teachers.distillation import Distillation
from segkit.training.teachers.lessons import lesson_of
from segkit.training.teachers.teaching import ANNOTATIONS_ALONE, Teaching


def teaching_of(plan: Plan, student: nn.Module, device: torch.device) -> Teaching:
    """What a run learns from, with its models on a device.

    Raises:
        SegkitError: The teacher cannot be loaded, or cannot teach this model.
    """
    if plan.teacher is None:
        return ANNOTATIONS_ALONE
    module, _ = load_model(plan.teacher.path, device)
    if plan.config.channels_last:
        module = module.to(memory_format=torch.channels_last)
    return teaching_with(plan, student, module)


def teaching_with(plan: Plan, student: nn.Module, teacher: nn.Module) -> Teaching:
    """The same with a teacher that is built already."""
    assert plan.teacher is not None
    lesson = lesson_of(plan.teacher, plan.card, student, teacher)
    weight = 1.0 if plan.config.teacher_weight is None else plan.config.teacher_weight
    return Distillation(teacher, lesson, weight, plan.teacher)
