"""Options of ``segkit export``."""

from dataclasses import dataclass
from pathlib import Path

from segkit.choices import Exporter, ExportFormat
from segkit.config.fields import CommandConfig, argument, flag_of, option, options_of
from segkit.errors import ConfigError

_EXACT, _HALF, _LOSS = 1e-3, 2e-2, 1e-2
_HALVED: tuple[ExportFormat, ...] = ("onnx", "openvino", "safetensors", "tensorrt")
_SMALLER = "Smaller and faster files"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(CommandConfig):
    """Options of an export."""

    model: Path | None = argument(
        None,
        help="A run or a checkpoint; with --bench also an exported file.  [default: runs/latest]",
        metavar="MODEL",
        complete="model",
    )
    format: ExportFormat = option("onnx", help="File format.")
    out: Path | None = option(None, help="File to write.  [default: model.onnx in the run, or as the format has it]")
    tolerance: float | None = option(
        None,
        help="Maximum difference from the original model, in scores and mask probabilities; and of AP or mIoU, where "
        f"--data or --int8 have it measured.  [default: {_EXACT:g}; with --half {_HALF:g}; of AP and mIoU {_LOSS:g} "
        "with --half or --int8]",
        min=0.0,
    )
    data: Path | None = option(
        None, help="Dataset with the images to compare on, and to measure AP or mIoU on.  [default: the run's own, "
        "without AP or mIoU]", complete="dataset",
    )  # fmt: skip
    exporter: Exporter = option(
        "torchscript", help="Which of PyTorch's exporters writes ONNX; dynamo (torch.export) is for U-Nets and for "
        "detectors with plain heads, takes a minute or more for a detector, and gives the same outputs.",
    )  # fmt: skip
    half: bool = option(False, help=f"Weights in 16 bits: half the size ({', '.join(_HALVED)}).", panel=_SMALLER)
    int8: bool = option(
        False, help="8 bits (onnx); without --calibrate only the weights of fully connected layers.", panel=_SMALLER
    )
    calibrate: Path | None = option(
        None,
        help="Dataset whose training images --int8 takes the ranges of values from, up to 64.",
        panel=_SMALLER,
        complete="dataset",
    )
    simplify: bool = option(
        False, help="Simplify the graph with onnxslim (onnx); kept only if its outputs are equal.", panel=_SMALLER
    )
    prune: float | None = option(
        None, help="Write a checkpoint without this share of the channels of each layer (of a unet, maskrcnn or "
        "fasterrcnn); train it a little more: segkit train --weights FILE.", min=0.0, max=0.95, panel=_SMALLER,
    )  # fmt: skip
    unstructured: bool = option(
        False, help="With --prune: set this share of all weights to zero instead, the smallest ones; any model.",
        panel=_SMALLER,
    )  # fmt: skip
    bench: bool = option(
        False, help="Write nothing: measure latency, throughput and memory of the model or file on this machine."
    )
    trust: bool = option(
        False, help="With --bench: run a file that is a program (TorchScript, PT2): only if you know who made it."
    )

    def _check(self) -> None:
        if self.half and self.format not in _HALVED:
            raise ConfigError(
                f"--half: files of the format {self.format} have weights in 32 bits only",
                f"leave it out, or use --format {' or '.join(_HALVED)}",
            )
        for flag, given in (("--int8", self.int8), ("--simplify", self.simplify)):
            if given and self.format != "onnx":
                raise ConfigError(f"{flag}: is for ONNX files, not for the format {self.format}", "use --format onnx")
        if self.exporter == "dynamo" and self.format != "onnx":
            raise ConfigError(
                f"--exporter dynamo: is for ONNX files, not for the format {self.format}", "use --format onnx"
            )
        if self.exporter == "dynamo" and self.int8:
            raise ConfigError(
                "--int8 and --exporter dynamo do not go together: the parts of a model are known by the names that the "
                "other exporter gives them",
                "leave --exporter out",
            )
        if self.half and self.int8:
            raise ConfigError("--half and --int8: choose one of them")
        if self.calibrate is not None and not self.int8:
            raise ConfigError("--calibrate has no effect without --int8", "add --int8")
        if self.trust and not self.bench:
            raise ConfigError("--trust has no effect without --bench", "leave it out")
        self._check_prune()
        writes = {"prune", "format", "exporter", "out", "half", "int8", "calibrate", "simplify", "tolerance"}
        given_flags = [flag_of(f) for f in options_of(type(self)) if f.name in writes & self.given_options()]
        if self.bench and given_flags:
            raise ConfigError(f"--bench writes nothing: {given_flags[0]} has no effect", "leave one of them out")

    def _check_prune(self) -> None:
        """Check that nothing is asked for that a pruned checkpoint has not.

        Raises:
            ConfigError: Something is.
        """
        if self.prune is None:
            if self.unstructured:
                raise ConfigError("--unstructured has no effect without --prune", "add --prune 0.5")
            return
        other = {"format", "exporter", "half", "int8", "calibrate", "simplify", "tolerance"} & self.given_options()
        flags = [flag_of(f) for f in options_of(type(self)) if f.name in other]
        if flags:
            raise ConfigError(
                f"--prune writes a checkpoint: {flags[0]} has no effect",
                "train it a little more (segkit train --weights FILE), then export that run",
            )
        if self.prune == 0:
            raise ConfigError("--prune 0: takes nothing away", "give a share, such as 0.3")

    @property
    def most_difference(self) -> float:
        """The largest difference of a file in 32 bits that is allowed."""
        return _EXACT if self.tolerance is None or self.int8 else self.tolerance

    @property
    def most_difference_in_half(self) -> float:
        """The same of a file in 16 bits."""
        return _HALF if self.tolerance is None else self.tolerance

    @property
    def most_loss(self) -> float:
        """The largest loss of AP or mIoU that is allowed."""
        if self.tolerance is not None:
            return self.tolerance
        return _LOSS if self.half or self.int8 else _EXACT
