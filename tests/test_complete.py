"""What the shell offers, through the variables by which bash, zsh and fish ask."""

import json
import os

import pytest
from conftest import ROOT

from segkit.cli import app
from segkit.commands.complete import MODEL_FILES
from segkit.runs.find import BEST, LAST, PREVIOUS
from segkit.runtimes.files import SUFFIXES


@pytest.fixture
def place(here):
    """Two runs with checkpoints, one without, a dataset, an exported file."""
    for run, file in (("roads", "last.pt"), ("cells-2", "best.pt"), ("empty", "config.toml")):
        (here / "runs" / run).mkdir(parents=True)
        (here / "runs" / run / file).touch()
    (here / "runs/cells-2/model.onnx").touch()
    (here / "runs/cells-2/labels.txt").write_text("cell\ncell wall\ndebris\n")
    (here / "runs/latest").symlink_to("cells-2")
    (here / "nuclei").mkdir()
    for split in ("train", "test"):
        (here / f"nuclei/{split}.json").write_text(json.dumps({"categories": []}))
    (here / "shared.pt").touch()
    return here


def offered(line, capsys, monkeypatch, shell="bash"):
    """The words that are offered for the last one of a line."""
    words = line.split(" ")
    monkeypatch.setattr("sys.argv", ["segkit"])
    asked = {"bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}}.get(
        shell, {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    )
    for name, value in ({"_SEGKIT_COMPLETE": f"complete_{shell}"} | asked).items():
        monkeypatch.setitem(os.environ, name, value)
    with pytest.raises(SystemExit) as ended:
        app(prog_name="segkit")
    assert ended.value.code == 0
    return capsys.readouterr().out.strip().splitlines()


RUNS = ["runs/latest", "runs/cells-2", "runs/roads"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("segkit train --model f", ["fasterrcnn"]),
        ("segkit predict --model ", [*RUNS, "shared.pt", "runs/cells-2/best.pt", "runs/cells-2/model.onnx",
                                     "runs/roads/last.pt"]),
        ("segkit eval runs/r", ["runs/roads", "runs/roads/last.pt"]),
        ("segkit train --resume ", RUNS),
        ("segkit memprofile runs/c", ["runs/cells-2"]),
        ("segkit train n", ["nuclei"]),
        ("segkit eval --data nuclei --split ", ["train", "test"]),
        ("segkit eval --split ", ["train", "val", "test"]),
        ("segkit predict --format overlay,la", ["overlay,labelme"]),
        ("segkit predict --categories ", ["cell", "cell wall", "debris"]),
        ("segkit predict --model runs/cells-2 --categories debris,cell", ["debris,cell", "debris,cell wall"]),
        ("segkit predict --score ", ["best", "promise"]),
        ("segkit export --format op", ["openvino"]),
        ("segkit predict in --out x", []),
    ],
)  # fmt: skip
def test_values_are_offered(place, capsys, monkeypatch, line, words):
    assert offered(line, capsys, monkeypatch) == words


def test_zsh_and_fish_are_offered_the_same(place, capsys, monkeypatch):
    for shell in ("zsh", "fish"):
        assert "runs/roads" in " ".join(offered("segkit train --resume runs/r", capsys, monkeypatch, shell))


def test_nothing_is_offered_where_there_is_nothing(here, capsys, monkeypatch):
    assert offered("segkit predict --model ", capsys, monkeypatch) == []
    assert offered("segkit predict --categories ", capsys, monkeypatch) == []


def test_the_files_of_models_are_those_that_segkit_opens():
    assert set(MODEL_FILES) == {".pt", *SUFFIXES.values()}
    text = (ROOT / "segkit/commands/complete.py").read_text()
    assert all(f'"{name}"' in text for name in (BEST, LAST, PREVIOUS))
