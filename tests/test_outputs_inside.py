"""What train, eval and export write stays in the run and in --out: no link and no ``..`` leads it elsewhere."""

import os
import shutil

import pytest
import torch
from training import config

from segkit.config.train import TrainConfig
from segkit.data.files import remove_temporary_files, temporary_file
from segkit.errors import InputError
from segkit.training.train import train

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows lets only administrators make links")


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    return train(config(dataset, tmp_path_factory.mktemp("trained"), model="unet", steps=1, name="r")).run


@pytest.fixture
def run(trained, here):
    """A copy of a run, and beside it the user's own files."""
    shutil.copytree(trained, here / "runs/r")
    (here / "mine").mkdir()
    (here / "mine/file").write_bytes(b"of the user")
    return here / "runs/r"


def untouched(here):
    return {path.name: path.read_bytes() for path in (here / "mine").iterdir()} == {"file": b"of the user"}


FILES = ["last.pt", "last.previous.pt", "best.pt", "metrics.jsonl", "config.toml", "curves.png", "samples.jpg"]


@pytest.mark.parametrize("target", ["file", "new"])
def test_a_run_that_goes_on_writes_through_no_link(run, here, target):
    """Whether the link leads to a file or to nothing; ``last.pt`` and ``config.toml`` are read first."""
    for name in FILES if target == "new" else FILES[1:4]:
        if name not in ("last.pt", "config.toml"):
            (run / name).unlink(missing_ok=True)
            (run / name).symlink_to(here / "mine" / target)
        (run / f".{name}.writing").symlink_to(here / "mine" / target)
    train(TrainConfig(resume=str(run), steps=2))
    assert untouched(here)
    assert not [path for path in run.rglob("*") if path.is_symlink()]
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 2


def test_a_run_without_a_checkpoint_writes_its_labels_through_no_link(run, here):
    for path in (*run.glob("*.pt"), run / "labels.txt"):
        path.unlink()
    (run / "labels.txt").symlink_to(here / "mine/file")
    train(TrainConfig(resume=str(run), steps=1))
    assert untouched(here)
    assert (run / "labels.txt").read_text()


def test_event_files_go_through_no_link(run, here):
    (run / "events").symlink_to(here / "mine", target_is_directory=True)
    with pytest.raises(InputError, match=r"events: is a link that leads out of"):
        train(TrainConfig(resume=str(run), steps=2, tensorboard=True))
    assert untouched(here)


@pytest.mark.parametrize("name", ["..", ".", "../r", "a/b", "/r", "latest", ""])
def test_the_name_of_a_run_leads_nowhere_else(segkit, dataset, here, name):
    outcome = segkit("train", dataset, "--weights", "none", "--name", name)
    assert outcome.code == 1
    assert outcome.err.startswith("error: --name")
    assert list(here.iterdir()) == []


def test_a_latest_that_is_a_link_to_elsewhere_is_replaced_and_not_followed(dataset, run, here):
    (here / "runs/latest").symlink_to(here / "mine", target_is_directory=True)
    train(config(dataset, here / "runs", model="unet", steps=1, name="s"))
    assert untouched(here)
    assert (here / "runs/latest").resolve() == (here / "runs/s").resolve()


def test_a_folder_of_runs_may_be_a_link_itself(dataset, here):
    (here / "disk").mkdir()
    (here / "runs").symlink_to("disk", target_is_directory=True)
    train(config(dataset, here / "runs", model="unet", steps=1, name="s"))
    assert (here / "disk/s/best.pt").is_file()


@pytest.mark.parametrize("split", ["val", "train"])
def test_scores_go_through_no_link(segkit, dataset, run, here, split):
    place = run / ("eval-train/metrics.json" if split == "train" else "metrics.json")
    place.parent.mkdir(exist_ok=True)
    for name in ("metrics.json", ".metrics.json.writing", "pictures.csv", "report.html"):
        (place.parent / name).symlink_to(here / "mine/file")
    assert segkit("eval", run, "--data", dataset, "--split", split, "--report").code == 0
    assert untouched(here)
    assert not place.is_symlink()


def test_a_folder_of_scores_that_leads_out_of_the_run_is_refused(segkit, dataset, run, here):
    (run / "eval-train").symlink_to(here / "mine", target_is_directory=True)
    outcome = segkit("eval", run, "--data", dataset, "--split", "train")
    assert outcome.code == 1
    assert f"error: {run}/eval-train: is a link that leads out of {run}, where nothing is written" in outcome.err
    assert untouched(here)
    assert segkit("eval", run, "--data", dataset, "--split", "train", "--out", "a/../scores").code == 0
    assert (here / "scores/metrics.json").is_file()
    assert untouched(here)


def test_an_exported_file_takes_the_place_of_a_link(segkit, dataset, run, here):
    (run / "model.onnx").symlink_to(here / "mine/file")
    (run / ".model.onnx.writing").symlink_to(here / "mine/file")
    assert segkit("export", run, "--data", dataset, "--tolerance", "1").code == 0
    assert untouched(here)
    assert not (run / "model.onnx").is_symlink()


def test_a_temporary_file_is_no_link(here):
    (here / "mine").write_text("of the user")
    (here / ".a.writing").symlink_to("mine")
    with temporary_file(here / "a") as temporary:
        temporary.write_text("new")
    assert (here / "mine").read_text() == "of the user"
    assert (here / "a").read_text() == "new"


def test_what_a_killed_export_has_left_is_removed(here):
    (here / ".model.onnx.writing").mkdir()
    (here / ".model.onnx.writing/model.onnx").write_text("half")
    (here / ".last.pt.writing").write_text("half")
    (here / "mine").mkdir()
    (here / ".link.writing").symlink_to("mine")
    remove_temporary_files(here)
    assert [each.name for each in here.iterdir()] == ["mine"]
