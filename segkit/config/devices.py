"""Which options of devices and processes go together."""

from segkit.errors import ConfigError


def check_devices(device: str, gpus: tuple[int, ...] | None, ranks: int) -> None:
    """Check that they do not contradict each other.

    Raises:
        ConfigError: They do.
    """
    if gpus is not None and device not in ("auto", "cuda"):
        raise ConfigError(f"--gpus and --device {device} contradict each other")
    if ranks > 1 and device != "cpu":
        raise ConfigError("--ranks goes with --device cpu", "on GPUs, name them: --gpus 0,1")
