"""Python and the installed packages, by their metadata alone: nothing is imported."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from segkit.doctor.facts import Fact

TESTED_PYTHONS = ((3, 11), (3, 12), (3, 13))

PURPOSES = {
    "tensorboard": "train --tensorboard",
    "measure": "nothing more: its packages are always installed",
    "imagecodecs": "TIFF files compressed with JPEG 2000, ZSTD, LERC",
    "watch": "predict --watch without polling",
    "imagej": "predict --format imagej",
    "geo": "predict --format gpkg",
    "video": "videos in predict",
    "openvino": "export --format openvino",
    "simplify": "export --simplify",
    "dynamo": "export --exporter dynamo",
    "prune": "export --prune",
    "transformers": "--model rfdetr",
    "tensorrt": "export --format tensorrt",
    "litert": "export --format litert",
    "serve": "segkit serve",
    "offline": "pretrained weights that come in a package, for machines without network",
}
"""What each extra is for."""

_NOT_FOR_USERS = ("dev", "docs", "all")
_NAMED = ("torch", "torchvision", "numpy", "opencv-python", "pycocotools", "labelme", "onnx", "onnxruntime", "pillow")


def check_python() -> Iterator[Fact]:
    """Whether segkit is tested on this Python."""
    own = sys.version_info[:2]
    name = f"Python {platform.python_version()}"
    if own in TESTED_PYTHONS:
        yield Fact("python", "ok", name)
    else:
        tested = ", ".join(".".join(map(str, each)) for each in TESTED_PYTHONS)
        yield Fact("python", "note", f"{name}: segkit is tested on {tested}", "if something fails, try one of these")
    if sys.maxsize < 2**32:
        yield Fact("python", "problem", "a 32-bit Python: PyTorch has none", "install a 64-bit Python")


def check_packages(distribution: str = "segkit") -> Iterator[Fact]:
    """Whether the packages that segkit needs are there in the versions that it needs, and which extras are.

    Args:
        distribution: The package whose requirements are read.
    """
    try:
        lines, name = requires(distribution) or [], version(distribution)
    except PackageNotFoundError:
        yield Fact(
            "python",
            "note",
            f"{distribution} is not installed as a package: its requirements are not known",
            "pip install . in its folder",
        )
        return
    wanted = [Requirement(line) for line in lines]
    core = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = [fault for each in core if (fault := _fault(each)) is not None]
    for words, each in wrong:
        yield Fact("python", "problem", words, f"pip install '{each.name}{each.specifier}'")
    if not wrong:
        yield Fact("python", "ok", f"{distribution} {name}, and the {len(core)} packages that it needs")
    yield from _check_pair()
    yield from _check_extras(distribution, wanted)


def _fault(wanted: Requirement) -> tuple[str, Requirement] | None:
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed", wanted
    if wanted.specifier.contains(Version(found).public, prereleases=True):
        return None
    return f"{wanted.name} {found}: {wanted.specifier} is needed", wanted


def _check_pair() -> Iterator[Fact]:
    """Whether torchvision was built for this torch: else its operators are missing, or it cannot be imported."""
    try:
        torch, torchvision = version("torch"), version("torchvision")
        built_for = [Requirement(line) for line in requires("torchvision") or []]
    except PackageNotFoundError:
        return
    for each in built_for:
        if each.name == "torch" and not each.specifier.contains(Version(torch).public, prereleases=True):
            yield Fact(
                "pytorch",
                "problem",
                f"torchvision {torchvision} is made for torch {each.specifier}, and torch {torch} is installed",
                "pip install --upgrade torch torchvision",
            )


def _check_extras(distribution: str, wanted: list[Requirement]) -> Iterator[Fact]:
    """Which extras are there; each that is not, with what it is for and what installs it."""
    installed = []
    for extra in metadata(distribution).get_all("Provides-Extra") or []:
        needed = [each for each in wanted if _only_with(extra, each)]
        if extra in _NOT_FOR_USERS or not needed:
            continue
        if missing := [each.name for each in needed if _fault(each) is not None]:
            what = f"{extra} is not installed ({', '.join(missing)}): it is for {PURPOSES[extra]}"
            yield Fact("extras", "ok", what, f'only if you want it: pip install "segkit[{extra}]"')
        else:
            installed.append(extra)
    if installed:
        yield Fact("extras", "ok", f"installed: {', '.join(installed)}")


def _only_with(extra: str, wanted: Requirement) -> bool:
    marker = wanted.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def versions() -> dict[str, str]:
    """Versions for a report: Python, the system, segkit and what its results depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("segkit", *_NAMED):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
