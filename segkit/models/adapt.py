"""Changes to a model before it trains: weights initialised, layers frozen, code compiled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, assert_never

import torch
from torch import nn

from segkit.choices import Initialisation
from segkit.errors import ConfigError
from segkit.models.backbones import BatchNorm, Body, freeze_stem
from segkit.models.rfdetr import RFDETR
from segkit.runtime.torch_private import is_compile_error


def body_of(module: nn.Module) -> nn.Module:
    """The feature extractor of a model."""
    return module.get_submodule(body_name(module))


def body_name(module: nn.Module) -> str:
    """Its name in the model, with which those of its parameters begin."""
    if isinstance(module, RFDETR):
        return module.body_name
    name: str = next(name for name, each in module.named_modules() if isinstance(each, Body))
    return name


def select(module: nn.Module, name: str, option: str) -> list[str]:
    """The parameters that a name on the command line stands for.

    Args:
        module: A model.
        name: ``backbone`` (the feature extractor), ``heads`` (all else), or a prefix of parameter names, up to a dot.
        option: The option that it was given to.

    Raises:
        ConfigError: There are none.
    """
    names = [each for each, _ in module.named_parameters()]
    if name in ("backbone", "heads"):
        prefix = f"{body_name(module)}."
        return [each for each in names if each.startswith(prefix) == (name == "backbone")]
    found = [each for each in names if each == name or each.startswith(f"{name}.")]
    if not found:
        known = ", ".join(child for child, _ in module.named_children() if child != "transform")
        raise ConfigError(f"{option} {name}: no layer is called that", f"backbone, heads, or what begins with {known}")
    return found


def train_mode(model: nn.Module) -> nn.Module:
    """Switch to training mode, except for batch norms of frozen layers: their statistics stay fixed."""
    model.train()
    for layer in model.modules():
        if isinstance(layer, BatchNorm) and layer.weight is not None and not layer.weight.requires_grad:
            layer.eval()
    return model


def initialise(module: nn.Module, how: Initialisation) -> None:
    """Initialise the weights of convolutions and linear layers; ``default`` keeps what their constructors chose.

    ``kaiming``: normal, by fan-out, for ReLU (He et al. 2015). ``xavier``: uniform (Glorot and Bengio 2010).
    ``orthogonal``: Saxe et al. 2013. Biases begin at 0.
    """
    if how == "default":
        return
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            match how:
                case "kaiming":
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                case "xavier":
                    nn.init.xavier_uniform_(layer.weight)
                case "orthogonal":
                    nn.init.orthogonal_(layer.weight)
                case _:
                    assert_never(how)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def freeze(module: nn.Module, names: Sequence[str]) -> None:
    """Freeze layers: ``none``, ``stem``, or a name that ``select`` knows.

    Raises:
        ConfigError: No layer has a name, or no layer is left to train.
    """
    parameters = dict(module.named_parameters())
    for name in names:
        if name == "stem":
            body = body_of(module)
            if not isinstance(body, Body):
                raise ConfigError("--freeze stem: a transformer has none", "freeze backbone, or none")
            freeze_stem(body)
        elif name != "none":
            for each in select(module, name, "--freeze"):
                parameters[each].requires_grad_(False)
    if not any(p.requires_grad for p in parameters.values()):
        raise ConfigError(f"--freeze {','.join(names)}: nothing is left to learn")


def save_memory(module: nn.Module) -> None:
    """Let a model keep no activations of its feature extractor; backward computes them again."""
    if isinstance(module, RFDETR):
        module.save_memory()
    else:
        body = body_of(module)
        assert isinstance(body, Body)
        body.recompute = True


def compile_features(module: Any) -> None:
    """Compile the convolutional part of a model: feature extractor and pyramid, or a U-Net up to its logits."""
    if hasattr(module, "backbone"):
        module.backbone.compile()
    else:
        module.logits = torch.compile(module.logits)


@contextmanager
def reraise_compile_errors() -> Iterator[None]:
    """Raise an error of ``torch.compile`` as a ``ConfigError``.

    Raises:
        ConfigError: The model cannot be compiled here.
    """
    try:
        yield
    except Exception as error:
        if not is_compile_error(error):
            raise
        raise ConfigError(f"--compile: {str(error).splitlines()[0]}", "leave --compile out") from error
