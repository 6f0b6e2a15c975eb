"""Names of devices, as options have them."""

import re

from segkit.errors import ConfigError

NO_GPU = "warning: --vram limits the memory of a GPU, and there is none in use"


def check_device_name(name: str) -> None:
    """Check that a name means a device: auto, cpu, cuda, cuda:1.

    Raises:
        ConfigError: It does not.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise ConfigError(f"--device {name}: not a device of segkit", "use auto, cpu, cuda or cuda:1")
