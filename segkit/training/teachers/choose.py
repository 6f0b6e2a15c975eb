"""What a run learns from: chosen by its plan."""

import torch
from torch import nn

from segkit.runs.checkpoint import load_model
from segkit.training.optim import Average
from segkit.training.plan import Plan
from segkit.training.teachers.distillation import Distillation
from segkit.training.teachers.lessons import lesson_of
from segkit.training.teachers.mean_teacher import MeanTeacher
from segkit.training.teachers.pseudo_labels import labeller_for
from segkit.training.teachers.teaching import ANNOTATIONS_ALONE, Teaching


def teaching_of(plan: Plan, student: nn.Module, average: Average, device: torch.device) -> Teaching:
    """What a run learns from, with its models on a device.

    Raises:
        SegkitError: The teacher cannot be loaded, or cannot teach this model.
    """
    module = None
    if plan.teacher is not None:
        module, _ = load_model(plan.teacher.path, device)
        if plan.config.channels_last:
            module = module.to(memory_format=torch.channels_last)
    return teaching_with(plan, student, module, average)


def teaching_with(plan: Plan, student: nn.Module, teacher: nn.Module | None, average: Average) -> Teaching:
    """The same with a teacher that is built already, if the plan has one.

    Args:
        plan: The run.
        student: The model.
        teacher: What is distilled.
        average: The average of the student's weights, which labels images without annotations.
    """
    config, teaching = plan.config, ANNOTATIONS_ALONE
    if plan.teacher is not None and teacher is not None:
        lesson = lesson_of(plan.teacher, plan.card, student, teacher)
        weight = 1.0 if config.teacher_weight is None else config.teacher_weight
        teaching = Distillation(teacher, lesson, weight, plan.teacher)
    if plan.unlabelled is not None:
        own = plan.card.build()
        own.load_state_dict(average.state, assign=True)  # the very tensors of the average
        weight = 1.0 if config.unlabelled_weight is None else config.unlabelled_weight
        labeller = labeller_for(plan.card, plan.train)
        teaching = MeanTeacher(teaching, own, labeller, weight, len(plan.unlabelled.images))
    return teaching
