"""Compile the C of ``segkit/data`` where a C compiler is at hand; without one the package is complete all the same.

Called by hatchling for wheels and editable installations; ``python hatch_build.py`` builds it in a clone.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
FOLDER = ROOT / "segkit" / "data"
SOURCES = ("_polygons.c", "_bands.c")


def build(folder: Path = FOLDER) -> Path | None:
    """Compile the sources in a folder into one extension there; None, and the reason on stderr, where that fails."""
    if os.name != "posix" or os.environ.get("SEGKIT_PURE"):
        return None
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    target, new = folder / "_polygons.abi3.so", folder / f"_polygons.{os.getpid()}.new"
    sources = [str(folder / name) for name in SOURCES]
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    # Contracting a * b + c into one rounding would change areas in the last pixel.
    flags = ["-O2", "-fPIC", "-ffp-contract=off", f"-I{sysconfig.get_path('include')}"]
    try:
        done = subprocess.run(
            [*compiler, *flags, *link, *sources, "-o", str(new), "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"segkit: no compiled extension: {done.stderr.strip()[-500:]}", file=sys.stderr)
            return None
        new.replace(target)
    except OSError as error:
        print(f"segkit: no compiled extension: {error}", file=sys.stderr)
        return None
    finally:
        new.unlink(missing_ok=True)
    return target


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script
    pass
else:
    # hatchling is not there when types are checked, only when a wheel is built.
    class PolygonsBuildHook(BuildHookInterface):  # type: ignore[type-arg,misc,unused-ignore]
        """Adds the extension to a wheel, which is then one for this platform and CPython 3.11 or later."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Called before a build."""
            if self.target_name == "wheel" and (built := build()) is not None:
                build_data["pure_python"] = False
                build_data["tag"] = f"cp311-abi3-{_platform()}"
                build_data["artifacts"].append(f"/segkit/data/{built.name}")


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


if __name__ == "__main__":
    print(build() or "not built: segkit works without it, more slowly")
