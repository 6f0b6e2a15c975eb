"""What is done to a built model before it trains: weights drawn, layers frozen, memory saved, code compiled."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, assert_never

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from segkit.choices import Initialisation
from segkit.errors import ConfigError
from segkit.models.backbones import BATCH_NORMS, freeze_stem

_BODIES = ("backbone.body", "body")  # of detectors, of U-Nets


def body_of(module: nn.Module) -> nn.Module:
    """The feature extractor in a model."""
    names = dict(module.named_modules())
    body: nn.Module = next(names[name] for name in _BODIES if name in names)
    return body


def select(module: nn.Module, name: str, option: str) -> list[str]:
    """The parameters that a name on the command line means.

    Args:
        module: A model.
        name: ``backbone`` (the feature extractor), ``heads`` (all else), or the beginning of parameter names, up to
            a dot.
        option: Where it was typed.

    Raises:
        ConfigError: There are none.
    """
    names = [each for each, _ in module.named_parameters()]
    inside = {each for each in names if each.startswith(tuple(f"{body}." for body in _BODIES))}
    if name in ("backbone", "heads"):
        return [each for each in names if (each in inside) == (name == "backbone")]
    found = [each for each in names if each == name or each.startswith(f"{name}.")]
    if not found:
        known = ", ".join(child for child, _ in module.named_children() if child != "transform")
        raise ConfigError(f"{option} {name}: no layer is called that", f"backbone, heads, or what begins with {known}")
    return found


def train_mode(model: nn.Module) -> nn.Module:
    """Training mode, in which frozen layers stay as they are: their batch norms do not follow the data."""
    model.train()
    for layer in model.modules():
        if isinstance(layer, BATCH_NORMS) and layer.weight is not None and not layer.weight.requires_grad:
            layer.eval()
    return model


def initialise(module: nn.Module, how: Initialisation) -> None:
    """Draw the weights of convolutions and linear layers anew; ``default`` keeps what their makers drew.

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
    """Keep layers as they are: ``none``, ``stem``, or what ``select`` knows.

    Raises:
        ConfigError: A name means nothing, or nothing is left to learn.
    """
    parameters = dict(module.named_parameters())
    for name in names:
        if name == "stem":
            freeze_stem(body_of(module))
        elif name != "none":
            for each in select(module, name, "--freeze"):
                parameters[each].requires_grad_(False)
    if not any(p.requires_grad for p in parameters.values()):
        raise ConfigError(f"--freeze {','.join(names)}: nothing is left to learn")


def recompute_stages(module: nn.Module) -> None:
    """Keep no activations inside the stages of the feature extractor: backward computes them again.

    A third more work in the extractor for a fraction of its memory (Chen et al. 2016,
    https://arxiv.org/abs/1604.06174).
    """
    for stage in body_of(module).children():
        if any(True for _ in stage.parameters()):
            whole = stage.forward
            stage.forward = partial(_recomputed, stage, whole)


def _recomputed(stage: nn.Module, forward: Any, features: Any) -> Any:
    if not stage.training:
        return forward(features)
    return checkpoint(forward, features, use_reentrant=False, context_fn=partial(_contexts, stage))


def _contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(stage)


@contextmanager
def _statistics_kept(stage: nn.Module) -> Iterator[None]:
    """Let batch norms compute what they computed, without counting the batch a second time."""
    layers = [m for m in stage.modules() if isinstance(m, BATCH_NORMS) and m.training and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.sub_(1)


def compile_features(module: Any) -> None:
    """Compile the part of a model that is all tensors: extractor and pyramid, or a U-Net up to its logits."""
    if hasattr(module, "backbone"):
        module.backbone.compile()
    else:
        module.logits = torch.compile(module.logits)


@contextmanager
def reraise_compile_errors() -> Iterator[None]:
    """Turn a compiler's failure into an error that says what to do.

    Raises:
        ConfigError: The model cannot be compiled here.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise ConfigError(f"--compile: {str(error).splitlines()[0]}", "leave --compile out") from error
