"""Instance segmentation from LabelMe annotations to a trained, measured, exported model.

The commands as functions, and the records that they take and return; docs/api.md has an example of each. Importing
segkit loads none of them: each comes with its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segkit.version import __version__

if TYPE_CHECKING:
    from segkit.api.conversion import convert
    from segkit.api.exporting import bench, export, prune
    from segkit.api.inference import evaluate, predict
    from segkit.api.memprofile import estimate_memory, profile
    from segkit.api.review import check, label
    from segkit.api.training import label_curve, train
    from segkit.config.check import CheckConfig
    from segkit.config.convert import ConvertConfig
    from segkit.config.evaluate import EvalConfig
    from segkit.config.export import ExportConfig
    from segkit.config.label import LabelConfig
    from segkit.config.memprofile import MemprofileConfig
    from segkit.config.predict import PredictConfig
    from segkit.config.train import TrainConfig
    from segkit.conversion.summary import ConversionSummary
    from segkit.errors import ConfigError, DeviceError, InputError, Interrupted, SegkitError
    from segkit.evaluation.evaluation import EvaluationSummary
    from segkit.evaluation.metrics import Metrics
    from segkit.exporting.bench import BenchSummary
    from segkit.exporting.export import ExportSummary
    from segkit.exporting.prune import PruneSummary
    from segkit.inference.predict import PredictionSummary
    from segkit.memprofile.estimate import MemoryEstimate
    from segkit.memprofile.profile import ProfileSummary
    from segkit.progress import Progress
    from segkit.review.check import CheckSummary
    from segkit.review.label import LabelSummary
    from segkit.training.label_curve.curve import LabelCurve
    from segkit.training.summary import TrainingSummary

_PLACES = {
    "segkit.api.conversion": ("convert",),
    "segkit.api.exporting": ("bench", "export", "prune"),
    "segkit.api.inference": ("evaluate", "predict"),
    "segkit.api.memprofile": ("estimate_memory", "profile"),
    "segkit.api.review": ("check", "label"),
    "segkit.api.training": ("label_curve", "train"),
    "segkit.config.check": ("CheckConfig",),
    "segkit.config.convert": ("ConvertConfig",),
    "segkit.config.evaluate": ("EvalConfig",),
    "segkit.config.export": ("ExportConfig",),
    "segkit.config.label": ("LabelConfig",),
    "segkit.config.memprofile": ("MemprofileConfig",),
    "segkit.config.predict": ("PredictConfig",),
    "segkit.config.train": ("TrainConfig",),
    "segkit.conversion.summary": ("ConversionSummary",),
    "segkit.errors": ("ConfigError", "DeviceError", "InputError", "Interrupted", "SegkitError"),
    "segkit.evaluation.evaluation": ("EvaluationSummary",),
    "segkit.evaluation.metrics": ("Metrics",),
    "segkit.exporting.bench": ("BenchSummary",),
    "segkit.exporting.export": ("ExportSummary",),
    "segkit.exporting.prune": ("PruneSummary",),
    "segkit.inference.predict": ("PredictionSummary",),
    "segkit.memprofile.estimate": ("MemoryEstimate",),
    "segkit.memprofile.profile": ("ProfileSummary",),
    "segkit.progress": ("Progress",),
    "segkit.review.check": ("CheckSummary",),
    "segkit.review.label": ("LabelSummary",),
    "segkit.training.label_curve.curve": ("LabelCurve",),
    "segkit.training.summary": ("TrainingSummary",),
}  # fmt: skip
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "BenchSummary", "CheckConfig", "CheckSummary", "ConfigError", "ConversionSummary", "ConvertConfig",
    "DeviceError", "EvalConfig", "EvaluationSummary", "ExportConfig", "ExportSummary", "InputError", "Interrupted",
    "LabelConfig", "LabelCurve", "LabelSummary", "MemoryEstimate", "MemprofileConfig", "Metrics", "PredictConfig",
    "PredictionSummary", "ProfileSummary", "Progress", "PruneSummary", "SegkitError", "TrainConfig",
    "TrainingSummary", "__version__", "bench", "check", "convert", "estimate_memory", "evaluate", "export", "label",
    "label_curve", "predict", "profile", "prune", "train",
]  # fmt: skip


if not TYPE_CHECKING:  # a checker of types would take every name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(import_module(_MODULES[name]), name)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted(globals().keys() | _MODULES.keys())
