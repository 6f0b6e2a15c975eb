"""Fixtures for all tests: the command line in this process, drawn images, and real data if it is available."""

import gc
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SEGKIT_SHARED_DATA", ROOT.parent / "shared" / "data"))

settings.register_profile("segkit", deadline=None)  # timings are no tests
settings.load_profile("segkit")

# A shell that starts the tests in the background lets them ignore SIGINT, and the processes that they start, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The files that take minutes come first, so that no process begins one when the other has nothing left. Those of memory
# before all: their searches of the heap take the longer the more objects other tests have left in the process.
FIRST = ("test_memory", "test_pipeline", "test_train", "test_fit", "test_signals")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files."""
    places = {
        item.path.name: [FIRST.index(name) for name in FIRST if item.path.name.startswith(name)] for item in items
    }
    items.sort(key=lambda item: min(places[item.path.name], default=len(FIRST)))


class Outcome(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Segkit = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def old_objects_apart(request: pytest.FixtureRequest) -> Iterator[None]:
    """Searches of the heap that run in this process look at what a test of memory makes.

    A process with all the tests before holds millions of objects; each search of them took half a minute.
    """
    if not request.module.__name__.startswith("test_memory"):
        yield
        return
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def segkit(capfd: pytest.CaptureFixture[str]) -> Segkit:
    """Run a command in this process."""
    from segkit.cli import main

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images and annotations made by others; they are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip("the shared data is not here")
    return SHARED


def _make_pictures() -> Any:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "examples" / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_pictures"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve small images with LabelMe files of every shape type that has an area. Read only."""
    folder = tmp_path_factory.mktemp("data") / "parts"
    _make_pictures().make_pictures(folder, count=12, size=96)
    return folder


@pytest.fixture(scope="session")
def dataset(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``parts``, converted. Read only."""
    from segkit.config.convert import ConvertConfig
    from segkit.conversion.convert import convert

    out = tmp_path_factory.mktemp("data") / "dataset"
    convert(ConvertConfig(src=str(parts), out=out, val=0.25))
    return out


@pytest.fixture(scope="session")
def resnet18() -> Any:
    """The state dict of a classifier with random weights. Read only."""
    import torch
    import torchvision

    torch.manual_seed(1)
    return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture(scope="session")
def rfdetr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes it, with a very small RF-DETR-Seg of random weights. Read only."""
    import torch
    from random_models import TINY_RFDETR

    from segkit.models.rfdetr_settings import configuration, transformers

    torch.manual_seed(4)
    config = configuration(TINY_RFDETR, 3)
    config.id2label, config.label2id = {0: "N/A", 1: "hole", 2: "cell"}, {"N/A": 0, "hole": 1, "cell": 2}
    model, folder = transformers().RfDetrForInstanceSegmentation(config), tmp_path_factory.mktemp("data") / "rf-detr"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
