"""Frozen layers that learn from a step on (``--unfreeze-after``): first new heads, then what they stand on."""

import torch
from torch import nn

from segkit.errors import ConfigError
from segkit.models.adapt import train_mode
from segkit.training.optim import groups_of
from segkit.training.plan import Plan


def is_thawed(plan: Plan, step: int) -> bool:
    """Whether the layers of ``--freeze`` learn in the step after ``step`` steps."""
    after = plan.config.unfreeze_after
    return after is not None and step >= after


def thaw(plan: Plan, module: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Let all layers learn from now on; returns whether some did not.

    Their groups are added behind those of the optimizer, so that the state of a checkpoint finds its parameters.

    Args:
        plan: The run.
        module: The model.
        optimizer: Its optimizer.
    """
    frozen = frozen_in(module)
    if not frozen:
        return False
    for parameter in frozen:
        parameter.requires_grad_(True)
    known = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    decay = plan.config.weight_decay or 0.0
    for group in groups_of(module, dict(plan.config.lr_factors or ())):
        if new := [parameter for parameter in group["params"] if parameter not in known]:
            more = {"params": new, "lr": plan.lr, "weight_decay": decay if group["decays"] else 0.0}
            optimizer.add_param_group(group | more)
    train_mode(module)
    return True


def check_thaw(plan: Plan, module: nn.Module) -> None:
    """Check that ``--unfreeze-after`` has something to unfreeze.

    Raises:
        ConfigError: No layer is frozen.
    """
    if plan.config.unfreeze_after is not None and not frozen_in(module):
        raise ConfigError(
            f"--unfreeze-after {plan.config.unfreeze_after}: no layer is frozen", "name some: --freeze backbone"
        )


def frozen_in(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a model that do not learn."""
    return [parameter for parameter in module.parameters() if not parameter.requires_grad]
