"""A resumed run is the same run, or it says what differs."""

import json
import os
import shutil

import pytest
import torch
from training import config, lines, losses

from segkit.config.fields import load_config, write_toml
from segkit.config.train import TrainConfig
from segkit.data.digest import differences, digest_of
from segkit.errors import ConfigError, InputError
from segkit.formats.dataset_folder import open_split
from segkit.runs.folder import point_latest
from segkit.training.run_options import config_of_run
from segkit.training.train import train


@pytest.fixture(scope="module")
def made(dataset, tmp_path_factory):
    """A run of two steps, and the dataset that it was made with: a copy."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(dataset, folder / "d")
    return train(config(folder / "d", folder, model="unet", steps=2, name="r")).run


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run and of its dataset, which a test may change."""
    shutil.copytree(made.parent / "d", tmp_path / "d")
    shutil.copytree(made, tmp_path / "r")
    text = (tmp_path / "r/config.toml").read_text()
    (tmp_path / "r/config.toml").write_text(text.replace(str(made.parent / "d"), str(tmp_path / "d")))
    return tmp_path / "r"


def change(folder, splits, how):
    for split in splits:
        document = json.loads((folder / f"{split}.json").read_text())
        how(document)
        (folder / f"{split}.json").write_text(json.dumps(document))


def rename(document):
    document["categories"][0]["name"] = "other"


def reorder(document):
    names = [category["name"] for category in document["categories"]]
    for category, name in zip(document["categories"], names[::-1], strict=True):
        category["name"] = name


def add(document):
    document["categories"].append({"id": 99, "name": "more"})


def remove(document):
    gone = document["categories"].pop()["id"]
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] != gone]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (rename, "it has the category 'other' and it lacks the category"),
        (reorder, "its categories come in another order"),
        (add, "it has the category 'more'"),
        (remove, "it lacks the category"),
    ],
)
def test_a_run_does_not_go_on_with_other_categories(run, segkit, how, said):
    change(run.parent / "d", ("train", "val"), how)
    before = (run / "last.pt").read_bytes()
    outcome = segkit("train", "--resume", run, "--steps", 3)
    assert outcome.code == 1
    assert f"error: the run cannot go on with this data: {said}" in outcome.err
    assert (run / "last.pt").read_bytes() == before
    assert load_config(TrainConfig, run / "config.toml").steps == 2


def drop_an_image(document):
    gone = document["images"].pop()["id"]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != gone]


def drop_an_annotation(document):
    document["annotations"].pop()


def move_a_point(document):
    document["annotations"][0]["segmentation"][0][0] += 1.0


def turn_round(document):
    document["images"].reverse()


def test_a_run_that_goes_on_says_what_the_data_has_become(run, segkit):
    change(run.parent / "d", ("train",), drop_an_image)
    outcome = segkit("train", "--resume", run, "--steps", 3)
    assert outcome.code == 0, outcome.err
    said = "since the run was saved: the train split has 8 images, it had 9"
    assert f"warning: {run.parent / 'd'}: {said}" in outcome.err


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (drop_an_image, "the train split has 8 images, it had 9"),
        (drop_an_annotation, "annotations, it had"),
        (move_a_point, "annotations of the train split were changed"),
        (turn_round, "the images of the train split come in another order"),
    ],
)
def test_every_change_of_a_split_is_named(run, how, said):
    before = digest_of(open_split(run.parent / "d", "train"))
    change(run.parent / "d", ("train",), how)
    (found,) = differences("train", before, digest_of(open_split(run.parent / "d", "train")))
    assert said in found


def test_best_pt_stays_when_the_validation_split_is_gone(run, segkit):
    (run.parent / "d/val.json").unlink()
    before = (run / "best.pt").read_bytes()
    outcome = segkit("train", "--resume", run, "--steps", 3)
    assert outcome.code == 0, outcome.err
    assert "the val split is gone" in outcome.err
    assert (run / "best.pt").read_bytes() == before


def test_a_dataset_that_was_moved_is_accepted_if_it_holds_the_same(run, segkit):
    shutil.move(run.parent / "d", run.parent / "moved")
    outcome = segkit("train", "--resume", run, "--steps", 3)
    assert outcome.code == 1
    assert f"error: {run}: its dataset is gone: {run.parent / 'd'}" in outcome.err
    assert f"hint: was it moved? name its new place: segkit train DATASET --resume {run}" in outcome.err
    outcome = segkit("train", run.parent / "nothing", "--resume", run, "--steps", 3)
    assert outcome.code == 1
    assert f"error: {run.parent / 'nothing'}: no such dataset" in outcome.err
    outcome = segkit("train", run.parent / "moved", "--resume", run, "--steps", 3)
    assert outcome.code == 0, outcome.err
    assert load_config(TrainConfig, run / "config.toml").dataset == run.parent / "moved"
    shutil.copytree(run.parent / "moved", run.parent / "other")
    change(run.parent / "other", ("train",), drop_an_image)
    outcome = segkit("train", run.parent / "other", "--resume", run, "--steps", 4)
    assert outcome.code == 1
    assert "other is other data: the train split has 8 images, it had 9" in outcome.err


def test_a_new_limit_is_written_into_the_run(run, segkit):
    outcome = segkit("train", "--resume", run, "--steps", 4)
    assert outcome.code == 0, outcome.err
    assert "the cosine schedule is laid over the new length: the learning rate goes on with" in outcome.err
    assert load_config(TrainConfig, run / "config.toml").steps == 4
    last = torch.load(run / "last.pt", weights_only=True)
    torch.save(last | {"step": 3}, run / "last.pt")  # as after an interruption
    outcome = segkit("train", "--resume", run)
    assert outcome.code == 0, outcome.err
    assert "laid over" not in outcome.err
    assert [line["step"] for line in lines(run)] == [1, 2, 3, 4]


def test_a_limit_that_is_reached_already_is_said(run, segkit):
    outcome = segkit("train", "--resume", run, "--steps", 1)
    assert outcome.code == 0, outcome.err
    assert "the limit is reached already, after step 2" in outcome.err


def test_a_checkpoint_without_a_digest_resumes_where_its_data_was(run, segkit):
    content = torch.load(run / "last.pt", weights_only=True)
    del content["data"]
    torch.save(content, run / "last.pt")
    shutil.copytree(run.parent / "d", run.parent / "e")
    outcome = segkit("train", run.parent / "e", "--resume", run, "--steps", 3)
    assert outcome.code == 1
    assert "its checkpoint does not say what the data was" in outcome.err
    assert segkit("train", "--resume", run, "--steps", 3).code == 0


def test_a_resumed_run_keeps_the_settings_of_its_model(run, dataset):
    """They were chosen from the data, which may have changed."""
    before = torch.load(run / "last.pt", weights_only=True)["card"]
    change(run.parent / "d", ("train",), lambda document: document["annotations"].__delitem__(slice(1, None)))
    train(TrainConfig(resume=str(run), steps=3))
    assert torch.load(run / "last.pt", weights_only=True)["card"] == before


def test_a_digest_does_not_depend_on_how_the_file_is_written(run):
    folder = run.parent / "d"
    before = digest_of(open_split(folder, "train"))
    change(folder, ("train",), lambda document: document["images"][0].update(license=1))
    assert digest_of(open_split(folder, "train")) == before
    change(folder, ("train",), turn_round)
    after = digest_of(open_split(folder, "train"))
    assert (after["pictures"], after["shapes"]) == (before["pictures"], before["shapes"])
    assert differences("train", before, before) == []
    assert differences("train", None, before) == ["the train split is new"]


@pytest.mark.parametrize(
    "more",
    [{"weights": "nothere.pth"}, {"freeze": ("nolayer",)}, {"lr_factors": (("nolayer", 2.0),)}],
)
def test_a_start_that_fails_leaves_no_run(made, tmp_path, more):
    from segkit.errors import SegkitError

    with pytest.raises(SegkitError):
        train(config(made.parent / "d", tmp_path / "runs", model="unet", **more))
    assert not (tmp_path / "runs").exists()


def test_a_run_that_fails_in_its_first_step_leaves_no_run_and_latest_stays(run, tmp_path, segkit):
    out = tmp_path / "runs"
    first = train(config(run.parent / "d", out, model="unet", steps=1)).run
    assert (out / "latest").resolve() == first
    for picture in (run.parent / "d/images").iterdir():
        picture.unlink()
        picture.write_bytes(b"nothing")
    outcome = segkit("train", run.parent / "d", "--out", out, "--model", "unet", "--weights", "none", "--size", 64)
    assert outcome.code == 1
    assert "not an image that can be decoded" in outcome.err
    assert {path.name for path in out.iterdir()} == {first.name, "latest"}
    assert (out / "latest").resolve() == first


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_latest_that_is_not_segkits_is_left_alone(made, tmp_path, kind, segkit):
    latest = tmp_path / "latest"
    if kind == "folder":
        latest.mkdir()
    (latest / "mine.txt" if kind == "folder" else latest).write_text("something of the user's")
    outcome = segkit(
        "train", made.parent / "d", "--out", tmp_path, "--model", "unet", "--weights", "none", "--size", 64,
        "--batch", 2, "--steps", 1, "--device", "cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(f"warning: {latest} is not segkit's and stays as it is") == 1
    assert (latest / "mine.txt" if kind == "folder" else latest).read_text() == "something of the user's"
    outcome = segkit("predict", made.parent / "d/images", "--model", latest, "--out", tmp_path / "p")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err


def test_resume_goes_on_to_the_bit_with_a_new_limit(made, run):
    """Only the schedule depends on the limit: without one, a longer run is the same as one that was resumed."""
    whole = train(config(made.parent / "d", run.parent, model="unet", steps=3, schedule="constant", warmup=0)).run
    part = train(config(made.parent / "d", run.parent, model="unet", steps=1, schedule="constant", warmup=0)).run
    train(TrainConfig(resume=str(part), steps=3))
    assert losses(part) == losses(whole)


def test_another_dataset_beside_resume_is_an_error_in_python_too(run, tmp_path):
    shutil.copytree(run.parent / "d", tmp_path / "e")
    change(tmp_path / "e", ("train",), drop_an_image)
    with pytest.raises(ConfigError, match="is other data"):
        train(TrainConfig(dataset=tmp_path / "e", resume=str(run), steps=3))


def weights_only(content):
    return {"card": content["card"], "model": content["model"], "step": content["step"]}


def newer_card(content):
    return content | {"card": content["card"] | {"new": 1}}


def not_finite(content):
    return content | {"model": {n: v * float("nan") if v.ndim == 4 else v for n, v in content["model"].items()}}


def other_optimizer(content):
    return content | {"optimizer": {"state": {}, "param_groups": []}}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (weights_only, "no run can go on from it: it has no 'raw'"),
        (newer_card, "its model card cannot be read"),
        (not_finite, "has weights that are not finite"),
        (other_optimizer, "does not fit the run's config"),
    ],
)
def test_a_checkpoint_that_a_run_cannot_go_on_from_is_refused(run, segkit, how, why):
    (run / "last.previous.pt").unlink(missing_ok=True)
    torch.save(how(torch.load(run / "last.pt", weights_only=True)), run / "last.pt")
    outcome = segkit("train", "--resume", run, "--steps", 3)
    assert outcome.code == 1
    assert f"error: {run / 'last.pt'}: {why}" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_run_without_a_whole_checkpoint_is_told_how_to_start_again(run, segkit):
    (run / "last.previous.pt").unlink(missing_ok=True)
    (run / "last.pt").write_bytes((run / "last.pt").read_bytes()[:1000])
    outcome = segkit("train", "--resume", run, "--steps", 3)
    assert outcome.code == 1
    assert f"error: {run / 'last.pt'}: not a checkpoint, or a damaged one" in outcome.err
    assert (
        f"hint: no whole checkpoint is left: start again with segkit train --config {run / 'config.toml'}"
        in outcome.err
    )


def test_metrics_that_an_editor_has_spoilt_end_no_run(run, segkit):
    whole = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(whole + b'\xff\xfe\n[1]\n{"step": 1}\n{"kind": "step", "step": 2}\n{"kind"')
    assert segkit("train", "--resume", run, "--steps", 3).code == 0
    assert [line["step"] for line in lines(run) if "loss" in line] == [1, 2, 3]
    assert (run / "curves.png").is_file()


def test_a_config_that_was_saved_by_notepad_is_read(run):
    (run / "config.toml").write_bytes(b"\xef\xbb\xbf" + (run / "config.toml").read_bytes().replace(b"\n", b"\r\n"))
    assert load_config(TrainConfig, run / "config.toml").model == "unet"


def test_a_checkpoint_with_another_models_tensors_is_refused(run, segkit):
    content = torch.load(run / "best.pt", weights_only=True)
    torch.save(content | {"card": content["card"] | {"backbone": "resnet50"}}, run / "best.pt")
    outcome = segkit("predict", run.parent / "d/images", "--model", run, "--device", "cpu", "--out", run / "p")
    assert outcome.code == 1
    assert f"error: {run / 'best.pt'}: its tensors are not those of its model card" in outcome.err


def test_a_file_of_a_run_beside_resume_is_told_the_folder(run, segkit):
    outcome = segkit("train", "--resume", run / "last.pt")
    assert outcome.code == 1
    assert f"hint: name the run's folder: {run}" in outcome.err


def made_up_run(out, name, when, checkpoint):
    folder = out / name
    folder.mkdir(parents=True)
    write_toml(TrainConfig(dataset=out), folder / "config.toml")
    (folder / "origin.json").write_text("{}")
    os.utime(folder / "origin.json", (when, when))
    if checkpoint:
        (folder / "last.pt").write_bytes(b"")
        point_latest(folder)
    return folder


def test_resume_alone_takes_no_older_run_in_the_place_of_one_that_was_killed(tmp_path):
    """Killed before its first checkpoint, a run is not the latest one; the one before it is not meant."""
    out = tmp_path / "runs"
    old = made_up_run(out, "unet-1", 1000, checkpoint=True)
    assert config_of_run(TrainConfig(out=out, resume="latest")).resume == str(old)
    killed = made_up_run(out, "unet-2", 2000, checkpoint=False)
    with pytest.raises(InputError) as refused:
        config_of_run(TrainConfig(out=out, resume="latest"))
    assert refused.value.message.startswith(f"{killed}: is newer than unet-1")
    assert f"--resume {old}, or --resume {killed}, which starts again" in str(refused.value.hint)
    assert config_of_run(TrainConfig(out=out, resume=str(old))).resume == str(old)
    (killed / "last.pt").write_bytes(b"")
    point_latest(killed)
    made_up_run(out, "unet-0", 500, checkpoint=False)  # an older failure is no news
    assert config_of_run(TrainConfig(out=out, resume="latest")).resume == str(killed)


def test_resume_alone_says_what_there_is_where_no_run_has_a_checkpoint(tmp_path):
    killed = made_up_run(tmp_path, "unet-1", 1000, checkpoint=False)
    with pytest.raises(InputError, match=f"{killed}: has no checkpoint to go on from"):
        config_of_run(TrainConfig(out=tmp_path, resume="latest"))
