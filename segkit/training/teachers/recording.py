"""What parts of a model were given, and gave, in a forward pass."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import nn


class Call(NamedTuple):
    """One call of a part: its positional arguments and its result."""

    inputs: tuple[Any, ...]
    output: Any


@contextmanager
def recording(module: nn.Module, parts: Sequence[str]) -> Iterator[dict[str, Call]]:
    """The last call of each part of a model, by the part's name; parts that do not run are missing.

    Args:
        module: The model.
        parts: Names of submodules.
    """
    calls: dict[str, Call] = {}

    def note(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[name] = Call(inputs, output)

    known = dict(module.named_modules())
    with ExitStack() as hooks:
        for name in parts:
            if name in known:
                hooks.callback(known[name].register_forward_hook(partial(note, name)).remove)
        yield calls
