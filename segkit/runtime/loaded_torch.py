"""PyTorch where it is loaded already: what serves both roads asks here, and never loads it."""

import sys
from typing import Any


def torch_if_loaded() -> Any | None:
    """The module ``torch``; None where nothing in this process has needed it, so that no tensor is there either."""
    return sys.modules.get("torch")
