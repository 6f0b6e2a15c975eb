"""Wheels of what a machine without network lacks: gathered where there is a network, installed where there is none.

    python benchmarks/gpu/wheels.py gather WHEELS [--python 3.12] [--glibc 28] [--present torch,torchvision,...]
    python benchmarks/gpu/wheels.py missing WHEELS          prints the wheels that are not installed here

What is needed stands in ``pyproject.toml``. What the machine has, and what that brings with it, is left out; so is
labelme, which no training needs. OpenCV comes without its windows and in the oldest release that segkit supports,
whose wheel is a fifth smaller than the newest.
"""

import argparse
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[2]
PRESENT = "torch,torchvision,numpy,onnx,onnxruntime,matplotlib,rich,typer,psutil"
NOT_NEEDED = {"labelme"}
FOR_TESTS = {"pytest", "hypothesis"}
INSTEAD = {"opencv-python": "opencv-python-headless>=4.10,<4.11"}


def needed() -> list[Requirement]:
    """What segkit and its GPU tests need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    wanted = [each for each in map(Requirement, project["dependencies"]) if each.name not in NOT_NEEDED]
    wanted += [each for each in map(Requirement, extras) if each.name in FOR_TESTS]
    return [Requirement(INSTEAD.get(each.name, str(each))) for each in wanted]


def with_dependencies(names: list[str], environment: dict[str, str]) -> set[str]:
    """Packages and all that they need, as far as they are installed here."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found:
            continue
        found.add(name)
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        todo += [each.name for each in map(Requirement, requires) if _applies(each, environment)]
    return found


def gather(folder: Path, python: str, glibc: int, present: list[str]) -> None:
    """Download wheels for another machine, with what they need in turn."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux",
                   "platform_system": "Linux", "platform_machine": "x86_64", "extra": ""}  # fmt: skip
    have = with_dependencies(present, environment)
    todo = [each for each in needed() if canonicalize_name(each.name) not in have]
    tags = [*(f"manylinux_2_{minor}" for minor in range(5, glibc + 1)), "manylinux1", "manylinux2010", "manylinux2014"]
    platforms = [word for tag in tags for word in ("--platform", f"{tag}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms,
               "--dest", str(folder)]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    while todo:
        subprocess.run([*command, *(f"{each.name}{each.specifier}" for each in todo)], check=True)
        have |= {canonicalize_name(each.name) for each in todo}
        required = [each for wheel in folder.glob("*.whl") for each in _requires(wheel) if _applies(each, environment)]
        todo = list({each.name: each for each in required if canonicalize_name(each.name) not in have}.values())


def missing(folder: Path) -> list[Path]:
    """The wheels in a folder whose packages are not installed here, the newest of each."""
    newest: dict[str, Path] = {}
    for wheel in sorted(folder.glob("*.whl"), key=lambda path: parse_wheel_filename(path.name)[1]):
        newest[parse_wheel_filename(wheel.name)[0]] = wheel
    return [wheel for name, wheel in sorted(newest.items()) if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    for each in (name, name.removesuffix("-headless")):  # two builds of OpenCV are one module
        try:
            distribution(each)
        except PackageNotFoundError:
            continue
        return True
    return False


def _requires(wheel: Path) -> list[Requirement]:
    with ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    return [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]


def _applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("gather", "missing"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="of the other machine")
    parser.add_argument("--glibc", type=int, default=28, help="minor version of the other machine's glibc 2.x")
    parser.add_argument("--present", default=PRESENT, help=f"packages that it has  [default: {PRESENT}]")
    asked = parser.parse_args()
    if asked.action == "missing":
        for wheel in missing(asked.folder):
            print(wheel)
        return
    gather(asked.folder, asked.python, asked.glibc, asked.present.split(","))
    sizes = sorted((wheel.stat().st_size, wheel.name) for wheel in asked.folder.glob("*.whl"))
    for size, name in sizes:
        print(f"{size / 2**20:6.2f} MiB  {name}")
    print(f"{sum(size for size, _ in sizes) / 2**20:6.2f} MiB  {len(sizes)} wheels")


if __name__ == "__main__":
    main()
