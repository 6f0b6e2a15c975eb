"""What options change of a loaded model: its limits, and how often it looks at an image."""

from collections.abc import Sequence

from segkit.errors import ConfigError, InputError
from segkit.inference.model import LoadedModel


def with_limits(model: LoadedModel, most: int | None, nms: float | None) -> LoadedModel:
    """A detector that finds up to so many instances, and lets boxes overlap up to an IoU before it drops one.

    Args:
        model: Its own limit stays where it is higher.
        most: Instances in an image; None: as it is.
        nms: Overlap from 0 to 1; less than torchvision's 0.5 is applied to masks afterwards.

    Raises:
        ConfigError: The limits of an exported file are part of its graph.
    """
    if model.card.framing.kind != "instances":
        return model
    limit = model.card.settings.detections
    if model.is_file:
        if most is not None and most > limit:
            raise ConfigError(f"--max-instances {most}: the exported file finds at most {limit}", "use the checkpoint")
        return model
    from segkit.inference.adjust import with_other_limits  # noqa: PLC0415 -- files need no PyTorch

    return with_other_limits(model, most or 0, nms or 0.0)


def with_views(model: LoadedModel, kinds: Sequence[str]) -> LoadedModel:
    """A model whose predictions are the mean over several views of each image.

    Raises:
        InputError: PyTorch, which computes the mean, is not installed.
    """
    if not kinds:
        return model
    try:
        from segkit.inference import adjust  # noqa: PLC0415 -- likewise
    except ImportError:
        what = "--tta: the mean over views is computed with PyTorch, which is not installed here"
        raise InputError(what, "leave it out, or pip install torch torchvision") from None

    return adjust.with_views(model, kinds)
