"""A run survives interrupts, kills, bad images, damaged files and losses that are not finite."""

import json
import os
import random
import re
import shutil
import signal
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from training import config, lines, losses, same_weights, start, wait_for_steps, weights

from segkit.config.train import TrainConfig
from segkit.errors import InputError, SegkitError
from segkit.training.train import train


@pytest.mark.parametrize("model", ["maskrcnn", "unet"])
def test_a_resumed_run_equals_an_uninterrupted_one(dataset, tmp_path, model):
    whole = train(config(dataset, tmp_path, model=model, steps=6, schedule="constant", warmup=0, ema=0.9)).run
    part = train(config(dataset, tmp_path, model=model, steps=3, schedule="constant", warmup=0, ema=0.9)).run
    train(TrainConfig(resume=str(part), steps=6))
    assert losses(part) == losses(whole)
    assert [line["step"] for line in lines(part)] == [1, 2, 3, 4, 5, 6]
    assert same_weights(whole, part)


def test_resume_refuses_options_that_change_the_run(dataset, tmp_path, segkit):
    run = train(config(dataset, tmp_path, model="unet", steps=1)).run
    outcome = segkit("train", "--resume", run, "--lr", 0.1)
    assert outcome.code == 1
    assert "--lr cannot be changed" in outcome.err
    assert segkit("train", "--resume", run, "--steps", 2, "--workers", 1, "--device", "cpu").code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_with_130(dataset, tmp_path, number):
    process = start(dataset, tmp_path, "--steps", "500", "--model", "unet")
    wait_for_steps(tmp_path / "r", 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"go on with: segkit train --resume {tmp_path / 'r'}" in err
    done = torch.load(tmp_path / "r/last.pt", weights_only=True)["step"]
    assert done == len(lines(tmp_path / "r"))
    assert train(TrainConfig(resume=str(tmp_path / "r"), steps=done + 1)).steps == done + 1


def test_steps_with_a_nonfinite_loss_are_skipped_and_end_the_run_if_they_persist(dataset, tmp_path, segkit):
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", "none", "--size", 64, "--batch", 2, "--device", "cpu",
        "--lr", "1e30", "--clip-grad", 0, "--warmup", 0, "--steps", 60, "--out", tmp_path, "--optimizer", "sgd",
    )  # fmt: skip
    assert outcome.code == 1
    assert "error: loss or gradients were not finite 10 steps in a row, last on" in outcome.err
    assert "hint: start again with a smaller --lr" in outcome.err
    assert "go on with" not in outcome.err
    assert all(None in (line["loss"], line["grad_norm"]) for line in lines(tmp_path / "unet-1")[-10:])


WILD = {"model": "unet", "lr": 1e30, "clip_grad": 0.0, "warmup": 0, "optimizer": "sgd", "schedule": "constant"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"steps": 1}, "the outputs of the model are not finite after step 1"),
        ({"steps": 2, "ema": 0.5}, "the outputs of the model are not finite after step 2"),
        ({"steps": 6}, "not finite in 5 of 6 steps"),
        ({"steps": 6, "eval_every": 1, "batch": 3}, "the outputs of the model are not finite after step 3"),
        ({"steps": 4, "lr": 1e38, "weight_decay": 1e38}, "not finite in 3 of 4 steps"),
    ],
)
def test_a_model_that_has_diverged_is_no_best_one_and_is_not_saved(dataset, tmp_path, more, why):
    with pytest.raises(SegkitError, match=why):
        train(config(dataset, tmp_path, **(WILD | more)))
    assert not list(tmp_path.glob("*/*.pt"))
    assert not (tmp_path / "latest").exists()


def test_a_run_without_validation_split_saves_no_model_that_has_diverged(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "d")
    (tmp_path / "d/val.json").unlink()
    with pytest.raises(SegkitError, match="the outputs of the model are not finite after step 2"):
        train(config(tmp_path / "d", tmp_path / "runs", **WILD, steps=2))
    assert not list(tmp_path.glob("runs/*/*.pt"))


def test_weights_that_are_not_finite_are_never_saved(dataset, tmp_path, monkeypatch):
    """Also where no evaluation comes first, and where the user asks to stop."""
    from segkit.training import step

    update, asked = step.update_weights, []

    def breaks(state, finite):
        done = update(state, finite)
        with torch.no_grad():
            next(state.module.parameters()).fill_(float("inf"))
        if not asked:
            asked.append(os.kill(os.getpid(), signal.SIGINT))
        return done

    monkeypatch.setattr(step, "update_weights", breaks)
    summary = train(config(dataset, tmp_path, model="unet", steps=9))
    assert summary.ended == "interrupted"
    assert not list(tmp_path.glob("*/*.pt"))


def test_a_run_that_ends_by_patience_saves_its_last_step(dataset, tmp_path):
    run = train(config(dataset, tmp_path, model="unet", steps=2, name="r")).run
    content = torch.load(run / "last.pt", weights_only=True)
    torch.save(content | {"best": 2.0, "save_seconds": 1e6}, run / "last.pt")  # nothing improves; saving takes long
    text = re.sub(r"(?m)^eval_every = .*", "eval_every = 1", (run / "config.toml").read_text())
    (run / "config.toml").write_text(text)
    summary = train(TrainConfig(resume=str(run), steps=500, patience=1))
    assert summary.ended == "patience"
    assert torch.load(run / "last.pt", weights_only=True)["step"] == summary.steps


def test_a_run_that_diverges_keeps_its_last_checkpoint(dataset, tmp_path, segkit):
    run = train(config(dataset, tmp_path, model="unet", steps=2, name="r")).run
    text = (run / "config.toml").read_text()
    text = re.sub(r"(?m)^lr = .*", "lr = 1e30", re.sub(r"(?m)^clip_grad = .*", "clip_grad = 0.0", text))
    (run / "config.toml").write_text(re.sub(r"(?m)^schedule = .*", 'schedule = "constant"', text))
    outcome = segkit("train", "--resume", run, "--steps", 60)
    assert outcome.code == 1
    assert f"{run} has the state after step 2" in outcome.err
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 2


def test_an_image_that_fails_later_is_named_and_the_weights_are_saved(dataset, tmp_path, segkit):
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    first = train(config(broken, tmp_path, model="unet", steps=2, batch=1, name="r")).run
    seen = 2
    for picture in (broken / "images").glob("*.jpg"):
        picture.write_bytes(picture.read_bytes()[:700])
    outcome = segkit("train", "--resume", first, "--steps", 9)
    assert outcome.code == 1
    assert "cannot be decoded" in outcome.err or "not a picture" in outcome.err
    assert "hint: open it in a viewer; replace or remove it" in outcome.err
    assert torch.load(first / "last.pt", weights_only=True)["step"] == seen
    assert f"go on with: segkit train --resume {first}" in outcome.err


def test_the_error_of_a_wrong_size_names_the_image(dataset, tmp_path):
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    for picture in (broken / "images").iterdir():
        pixels = np.zeros((10, 12, 3), np.uint8)
        picture.unlink()
        Image.fromarray(pixels).save(picture)
    with pytest.raises(InputError, match=r"has 10x12, the dataset says 96x96 pixels"):
        train(config(broken, tmp_path))


def killed_at_random(dataset, out, times, seed):
    """Kill a run at random moments and resume it; its result must equal that of an uninterrupted run."""
    options = ["--model", "unet", "--steps", "12", "--eval-every", "1", "--norm", "batch", "--precision", "fp32"]
    whole = start(dataset, out, *options, "--name", "whole")
    whole.communicate(timeout=300)
    dice, run, kills = random.Random(seed), out / "r", 0
    lines_of = run / "metrics.jsonl"
    process, began = start(dataset, out, *options), time.time()
    while kills < times:
        while process.poll() is None and not (lines_of.is_file() and lines_of.stat().st_mtime > began):
            time.sleep(0.02)
        time.sleep(dice.uniform(0.0, 2.0))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
        began = time.time()
        if process.returncode == 0:  # it was faster than the dice: another one
            shutil.rmtree(run)
            process = start(dataset, out, *options)
        else:
            process = start(dataset, out, resume=run)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert losses(run) == losses(out / "whole")
    assert same_weights(out / "whole", run)


def test_a_killed_and_resumed_run_has_the_same_result(dataset, tmp_path):
    killed_at_random(dataset, tmp_path, 1, seed=1)


@pytest.mark.slow
def test_a_run_killed_ten_times_has_the_same_result(dataset, tmp_path):
    killed_at_random(dataset, tmp_path, 10, seed=2)


def damage(path):
    """Flip one bit in the middle of the largest tensor."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    raw = bytearray(path.read_bytes())
    raw[largest.header_offset + largest.file_size // 2] ^= 16
    path.write_bytes(raw)


def test_a_damaged_checkpoint_is_noticed_and_the_previous_one_is_used(dataset, tmp_path, segkit):
    some = config(
        dataset, tmp_path, model="unet", steps=6, batch=3, eval_every=1, name="r", schedule="constant", warmup=0
    )
    whole = train(some).run  # three steps an epoch
    assert torch.load(whole / "last.previous.pt", weights_only=True)["step"] == 3
    before = lines(whole), weights(whole)
    damage(whole / "last.pt")
    outcome = segkit("train", "--resume", whole)
    assert outcome.code == 0, outcome.err
    assert "last.pt: damaged: the checksum of" in outcome.err
    assert "going on from the one before it, last.previous.pt" in outcome.err
    assert [line["losses"] for line in before[0]] == losses(whole)
    after = weights(whole)
    assert all(torch.equal(value, after[name]) for name, value in before[1].items())
    damage(whole / "last.pt")
    damage(whole / "last.previous.pt")
    outcome = segkit("train", "--resume", whole)
    assert outcome.code == 1
    assert "last.previous.pt: damaged" in outcome.err


def test_on_a_full_disk_the_previous_checkpoint_is_deleted_before_the_newest(tmp_path, monkeypatch):
    from segkit.runs.checkpoint import save_checkpoint

    last, previous = tmp_path / "last.pt", tmp_path / "last.previous.pt"
    for step in (1, 2):
        save_checkpoint(last, {"step": step}, previous)
    assert [torch.load(path, weights_only=True)["step"] for path in (last, previous)] == [2, 1]
    save, failures = torch.save, [RuntimeError("unexpected pos 64 vs 0")]

    def full(content, file):
        if failures:
            file.write(b"half of it")
            raise failures.pop()
        save(content, file)

    monkeypatch.setattr("torch.save", full)
    save_checkpoint(last, {"step": 3}, previous)
    assert [torch.load(path, weights_only=True)["step"] for path in (last, previous)] == [3, 2]
    failures += [RuntimeError("unexpected pos 64 vs 0")] * 2
    with pytest.raises(InputError, match=r"last.pt: cannot be written; the checkpoint before it is intact"):
        save_checkpoint(last, {"step": 4}, previous)
    assert torch.load(last, weights_only=True)["step"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt"}


def test_a_bad_image_is_skipped_and_named_on_request(dataset, tmp_path, segkit):
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    names = [image["file_name"] for image in json.loads((broken / "train.json").read_text())["images"]]
    names.append(json.loads((broken / "val.json").read_text())["images"][0]["file_name"])
    for name in (names[0], names[-1]):
        (broken / "images" / name).unlink()
        (broken / "images" / name).write_bytes(b"nothing")
    outcome = segkit(
        "train", broken, "--model", "unet", "--weights", "none", "--size", 64, "--batch", 9, "--steps", 2, "--device",
        "cpu", "--out", tmp_path, "--bad-pictures", "skip", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(f"{names[0]}: not an image that can be decoded; another picture takes its place") == 1
    assert f"{names[-1]}: not an image that can be decoded: counted as nothing found" in outcome.err
    summary = json.loads(outcome.out)
    assert (summary["steps"], summary["bad_pictures"]) == (2, 2)
    assert len(lines(tmp_path / "unet-1")[0]["bad_pictures"]) == 1


def test_a_skipped_step_changes_nothing(dataset, tmp_path, monkeypatch):
    """It changes neither weights nor the statistics of batch norms."""
    from segkit.models.unet import UNet

    whole, seen = UNet.forward, []

    def broken(self, images, targets=None):
        losses = whole(self, images, targets)
        if self.training:
            seen.append({name: value.clone() for name, value in self.state_dict().items()})
            if len(seen) == 2:
                losses["ce"] = losses["ce"] * float("nan")
        return losses

    monkeypatch.setattr(UNet, "forward", broken)
    summary = train(config(dataset, tmp_path, model="unet", steps=3))
    assert summary.skipped == 1
    first, second, third = seen
    changed = [name for name in second if not torch.equal(second[name], first[name])]
    assert any("running_mean" in name for name in changed)
    once_more = [name for name in second if "running" not in name and "tracked" not in name]
    assert all(torch.equal(third[name], second[name]) for name in once_more)
    assert lines(summary.run)[1]["loss"] is None
    state = torch.load(summary.run / "last.pt", weights_only=True)["model"]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_an_evaluation_can_be_interrupted(dataset, tmp_path, monkeypatch):
    """Ctrl-C during an evaluation saves the weights at once; the resumed run does the evaluation."""
    from segkit.models.unet import UNet

    whole = UNet.forward

    def asks(self, images, targets=None):
        if not self.training:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, images, targets)

    with monkeypatch.context() as patch:
        patch.setattr(UNet, "forward", asks)
        summary = train(config(dataset, tmp_path, model="unet", steps=3, batch=1))
    assert (summary.ended, summary.steps, summary.metrics) == ("interrupted", 3, None)
    assert torch.load(summary.run / "last.pt", weights_only=True)["step"] == 3
    again = train(TrainConfig(resume=str(summary.run)))
    assert again.ended == "complete"
    assert again.metrics is not None
