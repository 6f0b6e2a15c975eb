"""A step that fails is kept whole or not at all, never ends a run that would go on, and runs again anywhere."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import zlib

import pytest
import torch
from training import config, lines

from segkit.config.train import TrainConfig
from segkit.errors import SegkitError
from segkit.training.failures import keep
from segkit.training.failures.shrink import shrink
from segkit.training.train import train

WILD = {"lr": 1e30, "clip_grad": 0, "optimizer": "sgd", "warmup": 0, "schedule": "constant"}
SMALL = {"model": "unet", "backbone": "mobilenet_v2", "name": "r", "norm": "group"}


def runs_out(monkeypatch, *at, error=None):
    """Let the backward pass fail in the given calls, counted from 0."""
    calls, whole = iter(range(10**6)), torch.Tensor.backward

    def backward(*arguments, **more):
        if next(calls) in at:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return whole(*arguments, **more)

    monkeypatch.setattr(torch.Tensor, "backward", backward)


def kept(run):
    return [folder.name for folder in (run / "failures").iterdir()]


@pytest.fixture(scope="module")
def diverged(dataset, tmp_path_factory):
    """A run of which step 2 has no finite loss. Read only."""
    out = tmp_path_factory.mktemp("diverged")
    with pytest.raises(SegkitError, match="not finite"):
        train(config(dataset, out, **SMALL, **WILD, steps=2, augment="heavy", dropout=0.3))
    return out / "r"


def test_a_step_in_another_process_gives_the_same_losses_to_the_bit(diverged):
    assert kept(diverged) == ["2"]
    document = json.loads((diverged / "failures/2/bottle.json").read_text())
    assert (document["kind"], document["step"], document["losses"]["ce"]) == ("not finite", 2, "nan")
    replay = [sys.executable, "-m", "segkit", "replay", str(diverged / "failures/2"), "--device", "cpu", "--json"]
    done = subprocess.run(replay, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert found["losses_equal"] is True
    assert found["now"]["losses"] == document["losses"]
    assert f"makes values that are not finite: {found['now']['first_layer']}" in done.stderr
    assert "the losses are those of then, to the last bit" in done.stderr


@pytest.mark.parametrize("model", ["unet", pytest.param("maskrcnn", marks=pytest.mark.slow)])
def test_a_step_without_memory_is_kept_and_the_run_goes_on(dataset, tmp_path, monkeypatch, segkit, model):
    runs_out(monkeypatch, 1, 4)  # steps 2 and 3
    run = train(config(dataset, tmp_path, **SMALL | {"model": model}, batch=4, steps=3, failures=1)).run
    assert [line["micro_batch"] for line in lines(run)] == [4, 2, 1]
    assert kept(run) == ["2"]
    monkeypatch.undo()
    as_then = segkit("replay", run, "--device", "cpu")
    assert as_then.code == 0, as_then.err
    assert "then, on cpu: out of memory with 4 pictures at once" in as_then.out
    as_repeated = json.loads(segkit("replay", run / "failures/2", "--micro-batch", 2, "--json").out)
    assert as_repeated["losses_equal"] is True
    assert as_repeated["now"]["losses"] == lines(run)[1]["losses"]


def test_shrink_finds_the_pictures_that_an_exception_needs(dataset, tmp_path, monkeypatch, segkit):
    from segkit.models.unet import UNet

    bad, whole = [], UNet.forward

    def forward(self, images, targets=None):
        if not bad:
            bad.append(images[2])
        if any(torch.equal(image, bad[0]) for image in images):
            raise ValueError("a bad picture\nof two lines")
        return whole(self, images, targets)

    monkeypatch.setattr(UNet, "forward", forward)
    with pytest.raises(ValueError, match="a bad picture"):
        train(config(dataset, tmp_path, **SMALL, batch=4, steps=1))
    document = json.loads((tmp_path / "r/failures/1/bottle.json").read_text())
    assert document["traceback"].rstrip().endswith("ValueError: a bad picture\nof two lines")
    outcome = segkit("replay", tmp_path / "r", "--shrink")
    assert outcome.code == 3, outcome.err
    assert "now, on cpu: exception: ValueError: a bad picture\\nof two lines" in outcome.out
    assert f"the smallest part that still fails: {document['images'][2]['file']}\n" in outcome.out
    assert "the losses" not in outcome.out


def test_shrink_keeps_what_fails_only_together():
    assert shrink(range(32), lambda some: {3, 21} <= set(some)) == ([3, 21], True)
    assert shrink(range(8), lambda some: len(some) >= 5)[0].__len__() == 5
    assert shrink([7], lambda some: True) == ([7], True)
    assert shrink(range(1000), lambda some: len(some) >= 999)[1] is False


def test_a_first_step_that_fails_is_kept_and_its_name_is_free(dataset, tmp_path, monkeypatch, segkit):
    runs_out(monkeypatch, *range(9))
    options = config(dataset, tmp_path, **SMALL, steps=1, batch=1)
    with pytest.raises(SegkitError, match="out of memory"):
        train(options)
    assert kept(tmp_path / "r") == ["1"]
    assert segkit("replay", tmp_path / "r").code == 3
    monkeypatch.undo()
    assert segkit("replay", tmp_path / "r").code == 0
    (tmp_path / "r/notes.txt").write_text("mine")
    with pytest.raises(SegkitError, match="holds a run"):
        train(options)
    (tmp_path / "r/notes.txt").unlink()
    assert train(options).steps == 1
    assert not (tmp_path / "r/failures").exists()
    with pytest.raises(SegkitError, match="holds a run"):
        train(options)


def test_a_full_disk_is_said_leaves_nothing_and_does_not_end_the_run(dataset, tmp_path, monkeypatch, segkit):
    """Seen before the first byte is written, and in the middle."""
    runs_out(monkeypatch, 1, 3)
    checksum, room = keep.checksum, iter([0])

    def full(path):
        checksum(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keep, "checksum", full)
    monkeypatch.setattr(keep.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, next(room, 2**40)))
    options = ("--weights", "none", "--backbone", "mobilenet_v2", "--size", 64, "--batch", 4, "--device", "cpu")
    outcome = segkit("train", dataset, "--model", "unet", *options, "--steps", 2, "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    assert re.search(r"warning: the failing step 2 could not be kept in .*: it takes .* are free on", outcome.err)
    assert re.search(r"warning: the failing step 2 could not be kept in .*: No space left on device", outcome.err)
    assert not (tmp_path / "unet-1/failures").exists()
    assert len(lines(tmp_path / "unet-1")) == 2


@pytest.mark.slow
def test_pictures_that_were_too_large_are_loaded_again(dataset, tmp_path, monkeypatch, segkit):
    shutil.copytree(dataset, tmp_path / "d")
    monkeypatch.setattr(keep, "_MOST_PICTURES", 0)
    runs_out(monkeypatch, 1)
    run = train(config(tmp_path / "d", tmp_path, **SMALL, steps=2, augment="heavy")).run
    monkeypatch.undo()
    assert not (run / "failures/2/batch.pt").exists()
    assert json.loads(segkit("replay", run, "--micro-batch", 1, "--json").out)["losses_equal"] is True
    document = json.loads((run / "failures/2/bottle.json").read_text())
    picture = tmp_path / "d/images" / document["images"][0]["file"]
    content = picture.read_bytes()
    other = next(p for p in picture.parent.iterdir() if p.name != picture.name and p.read_bytes() != content)
    picture.unlink()
    shutil.copy(other, picture)
    assert f"{picture.name} is not what it was when the step failed" in segkit("replay", run).err
    annotations = json.loads((tmp_path / "d/train.json").read_text())
    annotations["annotations"].pop()
    (tmp_path / "d/train.json").write_text(json.dumps(annotations))
    assert "since the step failed: the train split has" in segkit("replay", run).err
    shutil.rmtree(tmp_path / "d")
    outcome = segkit("replay", run)
    assert (outcome.code, outcome.err.count("error: ")) == (1, 1)


@pytest.mark.slow
def test_weights_that_were_too_large_are_those_of_the_checkpoint(dataset, tmp_path, monkeypatch, segkit):
    monkeypatch.setattr(keep, "_MOST_WEIGHTS", 0)
    runs_out(monkeypatch, *range(1, 9))
    with pytest.raises(SegkitError, match="out of memory"):
        train(config(dataset, tmp_path, **SMALL, steps=2))
    monkeypatch.undo()
    assert segkit("replay", tmp_path / "r").code == 0
    (tmp_path / "r/failures/.3.writing").mkdir()
    (tmp_path / "r/failures/.3.writing/state.pt").write_bytes(b"PK")
    train(TrainConfig(resume=str(tmp_path / "r"), steps=3))
    assert kept(tmp_path / "r") == ["2"]  # what a kill has left is gone
    (tmp_path / "r/last.previous.pt").unlink()
    outcome = segkit("replay", tmp_path / "r")
    assert outcome.code == 1
    assert "has no checkpoint after step 1 any more" in outcome.err


class Code:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def code(folder):
    torch.save([Code()], folder / "batch.pt")


def other_batch(folder):
    torch.save([{"image": torch.zeros(3, 8, 8), "target": {}}] * 2, folder / "batch.pt")


def other_pixels(folder):
    content = torch.load(folder / "batch.pt")
    content[0]["image"][0, 0, 0] ^= 1
    torch.save(content, folder / "batch.pt")


def other_weights(folder):
    content = torch.load(folder / "state.pt")
    content["model"].popitem()
    torch.save(content, folder / "state.pt")


def edited(**values):
    def edit(folder):
        document = json.loads((folder / "bottle.json").read_text())
        (folder / "bottle.json").write_text(json.dumps(document | values))

    return edit


OPEN = ("bottle.json", "names", "is of format", "holds no", "state.pt: no")
HOSTILE = [
    (code, "batch.pt: holds more than tensors and plain values, or is damaged"),
    (other_batch, "batch.pt: is not the batch of the step"),
    (other_pixels, "is not what it was when the step failed"),
    (other_weights, "its weights are not those of its model card"),
    (lambda f: (f / "state.pt").write_bytes((f / "state.pt").read_bytes()[:999]), "holds more than tensors"),
    (lambda f: (f / "config.toml").write_text("x = 1"), "unknown keys: x"),
    (lambda f: (f / "bottle.json").write_text("{"), "bottle.json: not valid JSON"),
    (lambda f: (f / "bottle.json").write_text("[]"), "bottle.json: does not describe a failing step"),
    (edited(format=2, versions={"segkit": "9.0"}), "is of format 2, this segkit reads format 1"),
    (edited(images=[{}]), "bottle.json: lacks what describes a failing step"),
    (edited(micro_batch="many"), "bottle.json: lacks what describes a failing step"),
    (edited(files={"../../last.pt": "00000000"}), "names a file that no bottle has: '../../last.pt'"),
    (edited(card={}), "its model card cannot be read"),
    (lambda f: (f / "bottle.json").unlink(), "holds no failing step: it has no bottle.json"),
    (lambda f: (f / "state.pt").unlink(), "state.pt: no such file"),
]


def test_a_bottle_that_is_damaged_or_hostile_is_refused_in_one_line(diverged, tmp_path, monkeypatch, segkit):
    monkeypatch.chdir(tmp_path)
    for number, (damage, expected) in enumerate(HOSTILE):
        folder = tmp_path / str(number)
        shutil.copytree(diverged / "failures/2", folder)
        damage(folder)
        if not expected.startswith(OPEN):  # whoever edits a file can write its checksum, too
            files = {each.name: f"{zlib.crc32(each.read_bytes()):08x}" for each in folder.glob("*.[pt]*")}
            edited(files=files)(folder)
        outcome = segkit("replay", folder)
        assert outcome.code == 1, (expected, outcome.err)
        assert expected in next(line for line in outcome.err.splitlines() if line.startswith("error: ")), outcome.err
        shutil.rmtree(folder)
    assert not (tmp_path / "hacked").exists()


def test_damage_that_is_not_hidden_is_found_by_the_checksum(diverged, tmp_path, segkit):
    shutil.copytree(diverged / "failures/2", tmp_path / "b")
    with (tmp_path / "b/state.pt").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff\x00\xff")
    assert "state.pt: damaged: its checksum is wrong" in segkit("replay", tmp_path / "b").err


def test_what_is_no_bottle_is_said(tmp_path, monkeypatch, segkit, diverged):
    monkeypatch.chdir(tmp_path)
    assert "runs/latest: not a run" in segkit("replay").err
    assert "nowhere: holds no failing step" in segkit("replay", "nowhere").err
    assert "last.pt: holds no failing step" in segkit("replay", diverged / "last.pt").err


@pytest.mark.slow
@pytest.mark.parametrize("model", ["maskrcnn", "fasterrcnn", "condinst", "solov2", "unet"])
@pytest.mark.parametrize("how", ["plain", "teacher", "unlabelled"])
def test_every_way_to_learn_is_replayed_to_the_bit(dataset, tmp_path, monkeypatch, segkit, model, how):
    if model in ("condinst", "solov2") and how != "plain":
        pytest.skip("not learnt that way")
    more = {}
    if how == "teacher":
        more["teacher"] = train(config(dataset, tmp_path, model=model, steps=1, name="t")).run
    if how == "unlabelled":
        shutil.copytree(dataset / "images", tmp_path / "more")
        for place, each in enumerate(sorted((tmp_path / "more").iterdir())):
            content = each.read_bytes()
            each.unlink()
            (tmp_path / "more" / f"other{place}.jpg").write_bytes(content)
        more |= {"unlabelled": (str(tmp_path / "more"),), "ema": 0.9}
    parts = 2 if how == "unlabelled" else 1  # backward passes of a step, from step 2 on
    runs_out(monkeypatch, 1 + 2 * parts if how == "unlabelled" else 2)
    run = train(config(dataset, tmp_path, model=model, batch=2, steps=4, name="r", norm="group", **more)).run
    monkeypatch.undo()
    failed = json.loads(next(run.glob("failures/*/bottle.json")).read_text())
    assert any(entry["unlabelled"] for entry in failed["images"]) == (how == "unlabelled")
    found = json.loads(segkit("replay", run, "--micro-batch", 1, "--json").out)
    assert found["losses_equal"] is True, found


@pytest.mark.slow
def test_each_rank_keeps_its_own_part(dataset, tmp_path, segkit):
    with pytest.raises(SegkitError, match="not finite"):
        train(config(dataset, tmp_path, **SMALL, **WILD, steps=2, batch=4, ranks=2))
    folders = sorted(kept(tmp_path / "r"))
    assert folders == ["2-rank0", "2-rank1"]
    seen = []
    for name in folders:
        outcome = segkit("replay", tmp_path / "r/failures" / name, "--json")
        assert outcome.code == 3
        found = json.loads(outcome.out)
        assert found["losses_equal"] is True
        seen += found["images"]
    assert len(set(seen)) == 4
    assert math.isnan(float(found["now"]["losses"]["ce"]))
