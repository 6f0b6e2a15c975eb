"""Packages of the extras (``pip install "segkit[NAME]"``): loaded when needed, refused with what installs them."""

import importlib
from typing import Any

from segkit.errors import InputError


def extra_package(module: str, asked_by: str, extra: str) -> Any:
    """Load a module of a package that segkit does not install by itself.

    Args:
        module: Its name.
        asked_by: The option, or the file, that needs it; the message begins with it.
        extra: The extra that has the package.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0].replace("_", "-")
        raise InputError(f"{asked_by}: the package {name} is not installed", f'pip install "segkit[{extra}]"') from None
