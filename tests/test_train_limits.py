"""When a run evaluates, saves and ends; by a clock of the test, which only advances where something is computed."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from coco_files import annotation, document, draw, image, write
from training import config, lines

from segkit.config.train import TrainConfig
from segkit.errors import SegkitError
from segkit.formats.dataset_folder import open_split
from segkit.models.unet import UNet
from segkit.runs.metrics_file import evaluations_of
from segkit.training.agreement import Agreement
from segkit.training.defaults import epochs_between_evaluations
from segkit.training.limits import reserved, saves_after_evaluation, saves_before
from segkit.training.plan import plan_without_folder
from segkit.training.train import train


@pytest.fixture
def clock(monkeypatch):
    """A clock on which a training step and an image to evaluate take 5 s each."""
    whole, now = UNet.forward, [100.0]

    def counted(self, images, targets=None):
        now[0] += 5.0 if self.training else 5.0 * len(images)
        return whole(self, images, targets)

    monkeypatch.setattr(UNet, "forward", counted)
    return lambda: now[0]


@pytest.mark.parametrize(("limit", "eval_every"), [(65.0, 1), (75.0, 1000)])
def test_a_time_limit_includes_the_last_evaluation(dataset, tmp_path, clock, limit, eval_every):
    """Three images to evaluate take 15 s; before the first evaluation their time is estimated."""
    began = clock()
    summary = train(
        config(dataset, tmp_path, model="unet", steps=None, time=limit, batch=4, eval_every=eval_every), clock=clock
    )
    assert summary.ended == "time"
    assert limit / 3 < clock() - began <= limit
    assert summary.metrics is not None
    assert lines(summary.run, "eval")[-1]["step"] == summary.steps == lines(summary.run)[-1]["step"]


def test_the_schedule_ends_when_the_steps_do(dataset, tmp_path):
    some, training = config(dataset, tmp_path, steps=None, time=100.0), open_split(dataset, "train")
    plan = plan_without_folder(some, training, None, torch.device("cpu"), 1)
    assert plan.done(7, 60.0) == pytest.approx(0.6)
    assert plan.done(7, 60.0, reserved(100.0, evaluation=20.0, saving=0.0)) == pytest.approx(60 / 76)
    assert reserved(100.0, evaluation=900.0, saving=0.0) == 50
    assert reserved(None, evaluation=900.0, saving=0.0) == 0


def test_an_evaluation_that_takes_longer_than_the_time_is_given_up(dataset, tmp_path, clock):
    summary = train(config(dataset, tmp_path, model="unet", steps=None, time=15.0, batch=4), clock=clock)
    assert summary.ended == "time"
    assert torch.load(summary.run / "last.pt", weights_only=True)["step"] == summary.steps
    again = train(TrainConfig(resume=str(summary.run)), clock=clock)
    assert again.steps == summary.steps
    assert again.metrics is not None  # what was missing is done, whatever time it takes


def agreed(**more):
    plain = {
        "failed": False, "stop": False, "num_replaced": 0, "seconds": 500.0, "since_saved": 0.0, "one_step": 1.0,
        "evaluation": 5.0, "evaluated": 5.0, "saving": 2.0,
    }  # fmt: skip
    return Agreement(**plain | more)


def test_checkpoints_take_at_most_a_tenth_of_the_time():
    assert not saves_after_evaluation(agreed(since_saved=12.0), saved_before=False)
    assert saves_after_evaluation(agreed(since_saved=13.0), saved_before=False)
    assert not saves_after_evaluation(agreed(since_saved=13.0), saved_before=True)
    assert saves_after_evaluation(agreed(saving=0.0), saved_before=False)  # the first one
    assert not saves_before(agreed(since_saved=599.0), evaluates=False)
    assert saves_before(agreed(since_saved=600.0), evaluates=False)
    assert not saves_before(agreed(since_saved=600.0, saving=100.0), evaluates=False)
    assert saves_before(agreed(since_saved=60.0), evaluates=True)


@pytest.mark.parametrize(
    ("length", "num_val", "device", "expected"),
    [(10, 2, "cpu", 10), (10, 2, "cuda", 40), (137, 34, "cpu", 2), (118_000, 5000, "cuda", 1), (20, 200, "cpu", 50)],
)
def test_evaluations_are_spaced_by_counts(length, num_val, device, expected):
    assert epochs_between_evaluations(length, num_val, 4, torch.device(device)) == expected


def test_evaluations_are_left_out_where_they_would_take_more_than_a_tenth_of_the_time(dataset, tmp_path, monkeypatch):
    """By the seconds that they took: steps of 50 s, and evaluations of three images and a look at the outputs: 20 s."""
    whole, now = UNet.forward, [0.0]

    def counted(self, images, targets=None):
        now[0] += 50.0 if self.training else 5.0 * len(images)
        return whole(self, images, targets)

    monkeypatch.setattr(UNet, "forward", counted)
    monkeypatch.setattr("segkit.training.plan.epochs_between_evaluations", lambda *_: 1)
    some = config(dataset, tmp_path, model="unet", steps=13, batch=9, micro_batch=9, norm="group", eval_every=None)
    run = train(some, clock=lambda: now[0]).run
    assert [line["step"] for line in lines(run, "eval")] == [1, 8, 11, 13]  # the last one is always done
    assert torch.load(run / "last.pt", weights_only=True)["spaced_by_time"]
    asked = train(replace(some, eval_every=1, steps=3), clock=lambda: now[0]).run
    assert [line["step"] for line in lines(asked, "eval")] == [1, 2, 3]


def test_steps_that_are_repeated_after_a_kill_are_evaluated_as_before(dataset, tmp_path, monkeypatch):
    """Also where evaluations take more of the time now; what the killed session did not reach is decided anew."""
    whole, now, cost = UNet.forward, [0.0], [2.5]

    def counted(self, images, targets=None):
        now[0] += 50.0 if self.training else cost[0] * len(images)
        return whole(self, images, targets)

    monkeypatch.setattr(UNet, "forward", counted)
    monkeypatch.setattr("segkit.training.plan.epochs_between_evaluations", lambda *_: 1)
    some = config(
        dataset, tmp_path, model="unet", steps=3, batch=9, micro_batch=9, norm="group", eval_every=None, name="r",
        schedule="constant", warmup=0,
    )  # fmt: skip
    run = train(some, clock=lambda: now[0]).run
    at_3 = (run / "last.pt").read_bytes()
    train(TrainConfig(resume=str(run), steps=8), clock=lambda: now[0])
    before = [line["step"] for line in lines(run, "eval")]
    assert 2 <= len([step for step in before if step > 3]) < 5
    (run / "last.pt").write_bytes(at_3)  # as after a kill: the checkpoint is older than the metrics
    cost[0] = 500.0
    train(TrainConfig(resume=str(run), steps=9), clock=lambda: now[0])
    assert [line["step"] for line in lines(run, "eval")] == [*before, 9]


def test_a_run_whose_evaluations_left_no_line_repeats_none(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert evaluations_of(file, 0) == {}
    file.write_text("".join(json.dumps({"kind": "step", "step": step}) + "\n" for step in (1, 2, 3)))
    assert evaluations_of(file, 1) == {}
    with file.open("a") as open_file:
        open_file.write('{"kind": "eval", "step": 3}\n{"kind": "step", "step": 4}\n{"kind": "st')
    assert evaluations_of(file, 1) == {2: False, 3: True}
    assert evaluations_of(file, 4) == {}


def test_patience_counts_from_the_end_of_the_warm_up(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet", steps=40, lr=0.0, batch=9, eval_every=1, patience=1, norm="group")
    assert train(replace(some, warmup=0)).steps == 2  # the first is the best so far
    assert train(replace(some, warmup=4)).steps == 4


def test_patience_does_not_count_while_the_score_is_0(dataset, tmp_path, monkeypatch):
    from segkit.evaluation.metrics import Metrics

    some = config(dataset, tmp_path, model="unet", steps=3, lr=0.0, batch=9, eval_every=1, patience=1, warmup=0)
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "primary", lambda self: ("mIoU", 0.0))
        assert train(some).ended == "complete"
    monkeypatch.setattr(Metrics, "finds_something", lambda self: False)  # the background alone has a score
    assert train(some).ended == "complete"


def test_a_model_that_finds_the_background_alone_finds_nothing():
    from segkit.evaluation.metrics import Metrics, SemanticMetrics

    def metrics(**categories):
        scores = {name: {"IoU": value} for name, value in categories.items()}
        means = dict.fromkeys(("mIoU", "pixel_accuracy", "mean_accuracy", "F1", "fwIoU"), 0.2)
        return Metrics(images=1, max_dets=100, semantic=SemanticMetrics(**means, per_category=scores))

    assert not metrics(background=0.9, nut=0.0, disc=None).finds_something()
    assert metrics(background=0.9, nut=0.1).finds_something()


def test_a_run_that_has_learnt_nothing_says_so(dataset, tmp_path, segkit):
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", "none", "--size", 64, "--batch", 2, "--device", "cpu",
        "--steps", 1, "--lr", 0, "--out", tmp_path, "--vram", "1GiB",
    )  # fmt: skip
    assert outcome.code == 0
    assert "(best so far, nothing is found yet)" in outcome.err
    assert "warning: the model finds nothing of the validation split" in outcome.err
    assert "warning: --vram limits a GPU; on a CPU it counts for --micro-batch auto only" in outcome.err


def test_a_run_without_a_finite_step_is_an_error(dataset, tmp_path, monkeypatch):
    whole = UNet.forward

    def broken(self, images, targets=None):
        out = whole(self, images, targets)
        return {name: loss * math.nan for name, loss in out.items()} if self.training else out

    monkeypatch.setattr(UNet, "forward", broken)
    with pytest.raises(SegkitError, match="were not finite in any of 3 steps: the model has learnt nothing"):
        train(config(dataset, tmp_path, model="unet", steps=3))


def shrunk(dataset, tmp_path, side):
    """A copy of a dataset whose first category has only boxes of ``side`` pixels, and whose second none in train."""
    shutil.copytree(dataset, tmp_path / "d")
    document = json.loads((tmp_path / "d/train.json").read_text())
    first, second = (category["id"] for category in document["categories"][:2])
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] != second]
    for a in document["annotations"]:
        if a["category_id"] == first:
            a["segmentation"] = [[5, 5, 5 + side, 5, 5 + side, 5 + side, 5, 5 + side]]
            a["bbox"], a["area"] = [5, 5, side, side], side * side
    (tmp_path / "d/train.json").write_text(json.dumps(document))
    return tmp_path / "d"


def test_what_cannot_be_learnt_is_named_before_the_run(dataset, tmp_path, segkit):
    folder = shrunk(dataset, tmp_path, 2)
    train_split, val = open_split(folder, "train"), open_split(folder, "val")
    names = {c.id: c.name for c in train_split.categories}
    first, second = (c.id for c in train_split.categories[:2])
    count = sum(a.category_id == first for a in train_split.annotations)
    in_val = sum(a.category_id == second for a in val.annotations)
    outcome = segkit(
        "train", folder, "--model", "fasterrcnn", "--weights", "none", "--device", "cpu", "--size", 32, "--batch", 2,
        "--steps", 1, "--out", tmp_path / "runs",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert f"warning: {count} of {count} instances of {names[first]!r} are below 1 px at --size 32" in outcome.err
    where = f"the validation split has {in_val}" if in_val else "and no other has any"
    assert f"warning: the training split has no instance of {names[second]!r}, {where}" in outcome.err


def test_a_validation_split_that_spoils_the_scores_is_named_before_the_run(segkit, here):
    draw(here / "d/images")
    images = [image(number) for number in (1, 2, 3)]
    write(here / "d/train.json", document([annotation(n, n) for n in (1, 2)], images[:2]))
    write(here / "d/val.json", document([annotation(n, n) for n in (2, 3)], images[1:]))
    run = ("train", "d", "--model", "unet", "--weights", "none", "--size", 32, "--steps", 1, "--batch", 2,
           "--device", "cpu", "--workers", 0)  # fmt: skip
    shared = "warning: 1 of 2 pictures of the validation split are in the training split, too, 'p2.png' first"
    outcome = segkit(*run)
    assert outcome.code == 0, outcome.err
    assert shared in outcome.err
    assert "missing" not in outcome.err
    (here / "d/images/p3.png").unlink()
    for more, code, then in (((), 1, "the first evaluation will end the run"),
                             (("--bad-pictures", "skip"), 0, "they are not scored")):  # fmt: skip
        outcome = segkit(*run, *more)
        assert outcome.code == code, outcome.err
        said = f"warning: 1 of 2 pictures of the validation split are missing, 'p3.png' first: {then}"
        assert said in outcome.err
        assert outcome.err.index(said) < outcome.err.index("unet with")
