"""The source distribution and the wheels, with and without the extension: complete, and what is installed works.

Needs a package index, for the tools that build: ``pytest -m slow tests/test_wheel.py``.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from segkit.cli import COMMANDS
from segkit.version import __version__

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="paths of a POSIX environment")]


def run(*command, cwd, **environment):
    """Run a command outside of the clone; its output, or a failure with all of it."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SEGKIT_PURE")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def environment(folder):
    """A new environment of this Python; the folder of its programs."""
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The programs build and twine, in an environment of their own."""
    programs = environment(tmp_path_factory.mktemp("tools") / "venv")
    install = [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "build", "twine"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"build and twine cannot be installed: {done.stderr.strip()[-200:]}")
    return programs


def tracked():
    """The files of the clone."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return {name for name in names.split("\0") if name and (ROOT / name).is_file()} or pytest.skip("no clone")


@pytest.fixture(scope="module", params=["compiled", "pure"])
def built(request, tools, tmp_path_factory):
    """What ``python -m build`` makes: the source distribution, and the wheel from it alone."""
    out = tmp_path_factory.mktemp(request.param)
    pure = {"SEGKIT_PURE": "1"} if request.param == "pure" else {}
    run(tools / "python", "-m", "build", "--outdir", out, ROOT, cwd=out, **pure)
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return request.param, source, wheel


def test_the_source_distribution_has_every_file_and_nothing_that_is_ignored(built):
    _, source, _ = built
    with tarfile.open(source) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert tracked() - names == set()
    assert [name for name in names if name.endswith((".so", ".pyc", ".pyd"))] == []
    assert {name.partition("/")[0] for name in names} <= {name.partition("/")[0] for name in tracked()} | {"PKG-INFO"}


def test_a_wheel_has_every_file_of_the_package_and_says_what_it_is(built, tools, tmp_path):
    kind, source, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in tracked() if name.startswith("segkit/")} - names == set()
    assert {name.partition("/")[0] for name in names} == {"segkit", f"segkit-{__version__}.dist-info"}
    assert any("/licenses/LICENSE" in name for name in names)
    compiled = [name for name in names if name.endswith(".so")]
    if kind == "pure":
        assert compiled == []
        assert wheel.name.endswith("-py3-none-any.whl")
    elif compiler():
        assert compiled == ["segkit/data/_polygons.abi3.so"]
        assert f"-cp311-abi3-{sysconfig.get_platform()}".replace(".", "_").replace("-", "_") in wheel.name.replace(
            "-", "_"
        )
    said = run(tools / "python", "-m", "twine", "check", "--strict", source, wheel, cwd=tmp_path)
    assert said.count("PASSED") == 2


def compiler():
    """Whether this machine can compile the extension."""
    name = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    return subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The programs of an environment with the wheel and, from this environment, what it needs."""
    kind, _, wheel = built
    folder = tmp_path_factory.mktemp(f"{kind}-installed")
    programs = environment(folder)
    pip = [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    site = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(site) / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return kind, programs


def test_what_is_installed_starts_and_explains_every_command(installed, tmp_path):
    kind, programs = installed
    said = run(programs / "python", "-c", "import segkit; print(segkit.__file__)", cwd=tmp_path)
    assert Path(said.strip()).is_relative_to(programs.parent), "the wheel is tried, not the clone"
    code = "from segkit.data.polygons import native; print(native is not None)"
    if compiler() or kind == "pure":
        assert run(programs / "python", "-c", code, cwd=tmp_path).strip() == str(kind == "compiled")
    assert run(programs / "segkit", "--version", cwd=tmp_path).startswith(f"segkit {__version__}")
    listed = run(programs / "segkit", "--help", cwd=tmp_path)
    for name in COMMANDS:
        assert name in listed
        assert f"segkit {name}" in run(programs / "segkit", name, "--help", cwd=tmp_path)
    assert "segkit" in run(programs / "python", "-m", "segkit", "--version", cwd=tmp_path)


def test_what_is_installed_converts_checks_scores_and_writes_pages(installed, tmp_path):
    _, programs = installed
    run(sys.executable, ROOT / "examples/make_pictures.py", "parts", "--count", 8, "--size", 96, cwd=tmp_path)
    said = json.loads(run(programs / "segkit", "convert", "parts", "--json", cwd=tmp_path))
    assert said["instances"] > 8
    assert (tmp_path / "dataset/val.json").is_file()
    run(programs / "segkit", "check", "dataset", "--out", "checked", cwd=tmp_path)
    truth = json.loads((tmp_path / "dataset/val.json").read_text())
    results = [{key: each[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 0.9}
               for each in truth["annotations"]]  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(results))
    command = ["eval", "results.json", "--data", "dataset/val.json", "--report", "--json"]
    scores = json.loads(run(programs / "segkit", *command, cwd=tmp_path))
    assert scores["segm"]["AP"] == 1.0
    for page in ("checked/check.html", "evaluation/report.html"):
        assert (tmp_path / page).read_text().rstrip().endswith("</html>")
    words = "train dataset --model unet --backbone plain --weights none --steps 2 --size 64 --batch 2 --device cpu"
    run(programs / "segkit", *words.split(), cwd=tmp_path)
    assert (tmp_path / "runs/latest/last.pt").is_file()
