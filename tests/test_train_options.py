"""Options of train: what they do, and the messages for invalid ones."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training import config, lines, losses, same_weights, weights

from segkit.config.fields import load_config
from segkit.config.train import TrainConfig
from segkit.data.records import Annotation, Category, Dataset, Image
from segkit.errors import ConfigError
from segkit.models.weight_files import WeightFile
from segkit.training.balance import balanced
from segkit.training.defaults import DataFacts, resolve_defaults
from segkit.training.train import train


def test_categories_must_agree(dataset, tmp_path, segkit):
    other = tmp_path / "d"
    shutil.copytree(dataset, other)
    val = json.loads((other / "val.json").read_text())
    val["categories"][0]["name"] = "other"
    (other / "val.json").write_text(json.dumps(val))
    outcome = segkit("train", other, "--weights", "none", "--out", tmp_path)
    assert outcome.code == 1
    assert "its categories are not those of the training split" in outcome.err
    assert not list(tmp_path.glob("maskrcnn*"))


ERRORS = [
    (["nowhere"], "error: nowhere: no such dataset\nhint: make one: segkit convert LABELME-DIR"),
    (["{d}", "--gpus", "0,1"], "error: no CUDA device is available\nhint: use --device cpu"),
    (["{d}", "--gpus", "0", "--device", "cpu"], "error: --gpus and --device cpu contradict each other"),
    (["{d}", "--ranks", "2"], "error: --ranks goes with --device cpu"),
    (["{d}", "--device", "quantum"], "error: --device quantum: not a device"),
    (
        ["{d}", "--device", "cpu", "--ranks", "2", "--batch", "3"],
        "error: --batch 3 cannot be shared by 2 ranks",
    ),
    (
        ["{d}", "--weights", "nofile.pt"],
        "error: nofile.pt: no such file\nhint: known names are coco, imagenet and none",
    ),
    (
        ["{d}", "--weights", "coco", "--backbone", "resnet18"],
        "error: --weights coco: there are none for maskrcnn",
    ),
    (["{d}", "--precision", "fp16", "--device", "cpu"], "error: --precision fp16 needs a GPU"),
    (
        ["{d}", "--model", "unet", "--size", "100"],
        "error: --size 100: a U-Net's crop must be divisible by 32",
    ),
    (["{d}", "--resume", "nowhere"], "error: nowhere: not a run"),
    (["{d}", "--name", "a/b"], "error: --name 'a/b': a plain folder name"),
    (["{d}", "--name", "a\nb"], "error: --name 'a\\nb': a plain folder name"),
    (["{d}", "--name", "n" * 256], "a plain folder name"),
    (["{d}", "--ema", "1"], "error: --ema 1: the averaged weights would stay those of the start"),
    (["{d}", "--momentum", "1"], "error: --momentum 1: no gradient would ever be forgotten"),
    (["{d}", "--device", "cpu", "--norm", "sync"], "error: --norm sync works on GPUs only"),
    (["{d}", "--device", "cpu", "--weights", "none", "--out", "{d}/train.json"], "File exists"),
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="these messages are for machines without a GPU")
@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_messages_of_errors(segkit, here, dataset, arguments, message):
    outcome = segkit("train", *[argument.format(d=dataset) for argument in arguments])
    assert outcome.code == 1
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_messages_of_usage_errors(segkit, here):
    for arguments, message in (
        (["--model", "yolo"], "Invalid value for '--model': 'yolo' is not one of"),
        (["--time", "soon"], "'soon' is not a duration such as 30s, 90m or 2h"),
        (["--gpus", "a"], "'a' is not a list of distinct numbers"),
        (["--epochs", "0"], "Invalid value for '--epochs'"),
        (["--epcohs", "5"], "No such option"),
    ):
        outcome = segkit("train", *arguments)
        assert outcome.code == 2, outcome.err
        assert message in outcome.err
        assert "hint: see segkit train --help" in outcome.err


def test_an_existing_run_is_not_overwritten(segkit, here, dataset):
    (here / "runs/mine").mkdir(parents=True)
    outcome = segkit("train", dataset, "--name", "mine", "--weights", "none", "--steps", 1)
    assert outcome.code == 1
    assert "runs/mine: holds a run" in outcome.err


def test_command_line_wins_over_file_and_file_over_default(segkit, here, dataset):
    (here / "c.toml").write_text('model = "unet"\nsteps = 1\nsize = 64\nweights = "none"\nbatch = 2\ntime = "10m"\n')
    outcome = segkit("train", dataset, "--config", "c.toml", "--batch", 1, "--name", "r", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    written = load_config(TrainConfig, here / "runs/r/config.toml")
    assert (written.model, written.steps, written.batch, written.time) == ("unet", 1, 1, 600.0)
    (here / "c.toml").write_text("stepps = 1\n")
    outcome = segkit("train", dataset, "--config", "c.toml")
    assert outcome.code == 2
    assert "unknown keys: stepps" in outcome.err


def test_memory_low_gives_the_same_training(dataset, tmp_path):
    """Recomputed activations are the same, and batch norm statistics are updated once."""
    some = config(dataset, tmp_path, model="unet", steps=2)
    plain, low = train(some).run, train(replace(some, memory="low")).run
    assert losses(plain) == losses(low)
    assert same_weights(plain, low)


def test_learning_rate_factors_and_frozen_layers(dataset, tmp_path):
    some = config(dataset, tmp_path, model="fasterrcnn", steps=1, freeze=("rpn", "roi_heads.box_head.fc6"))
    run = train(replace(some, lr_factors=(("backbone", 0.0), ("heads", 2.0)))).run
    torch.manual_seed(0)
    from segkit.models.card import ModelCard
    from segkit.runs.checkpoint import load_checkpoint

    start = ModelCard.from_plain(load_checkpoint(run / "last.pt")["card"]).build().state_dict()
    still = {name for name, value in weights(run).items() if torch.equal(value, start[name])}
    learning = {name for name in start if name.endswith("weight") and start[name].ndim > 1}
    kept, changed = ("backbone.body", "rpn", "roi_heads.box_head.fc6"), ("backbone.fpn", "roi_heads.box_head.fc7")
    assert all(name in still for name in learning if name.startswith(kept))
    assert not any(name in still for name in learning if name.startswith(changed))


def test_dropout_depends_only_on_the_image(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet", batch=4, norm="group", steps=2)
    plain, dropped = train(some).run, train(replace(some, dropout=0.5)).run
    parts = train(replace(some, dropout=0.5, micro_batch=1)).run
    assert losses(plain) != losses(dropped)
    for a, b in zip(lines(dropped), lines(parts), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.parametrize("how", ["kaiming", "xavier", "orthogonal"])
def test_weights_are_initialised_as_requested(how):
    from segkit.models.adapt import initialise

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(64, 32, 3)
    initialise(layer, how)
    flat = layer.weight.detach().flatten(1)
    expected = {"kaiming": (2 / (32 * 9)) ** 0.5, "xavier": (2 / (96 * 9)) ** 0.5, "orthogonal": 576**-0.5}[how]
    assert flat.std() == pytest.approx(expected, rel=0.05)
    assert (layer.bias == 0).all()
    if how == "orthogonal":
        assert (flat @ flat.T - torch.eye(32)).abs().max() < 1e-4


def test_balance_makes_epochs_longer_and_shows_every_image(dataset, tmp_path):
    summary = train(config(dataset, tmp_path, model="unet", steps=2, balance=True))
    assert summary.epochs <= 2 * 2 / 9


def skewed(images, rare):
    """A dataset of so many images with two usual categories, of which a few have a third one."""
    pictures = tuple(Image(number, f"{number}.png", 64, 64) for number in range(images))
    boxes = [(number, kind) for number in range(images) for kind in ((1, 2, 3) if number < rare else (1, 2))]
    annotations = [
        Annotation(place, number, kind, [[0.0, 0, 9, 0, 9, 9]], (0, 0, 9, 9), 40.0)
        for place, (number, kind) in enumerate(boxes, 1)
    ]
    return Dataset(pictures, tuple(annotations), tuple(Category(n, name) for n, name in enumerate("abc", 1)), Path())


@pytest.mark.parametrize(
    ("images", "rare", "given", "expected"),
    [(64, 4, None, True), (64, 4, False, False), (64, 32, None, False), (64, 32, True, True), (40, 2, None, False)],
)
def test_rare_categories_are_balanced_where_they_are_rare_among_many_images(images, rare, given, expected):
    """Repeat factors: the root of how much rarer a category is than the median one."""
    chosen, repeats, said = balanced(TrainConfig(balance=given), skewed(images, rare))
    assert chosen.balance is expected
    assert (repeats is not None) is expected
    if expected and given is None:
        assert repeats.tolist() == [4.0] * 4 + [1.0] * 60
        assert said == (
            "images of rare categories come more often: c 1 -> 4.0 times; an epoch has 64 -> 76 images "
            "(--no-balance: each once)",
        )
    else:
        assert said == ()


def scalars(run, tag):
    """The scalars that TensorBoard's own reader finds in a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "events"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def test_tensorboard_reads_the_event_files(dataset, tmp_path):
    run = train(config(dataset, tmp_path, model="unet", steps=2, tensorboard=True)).run
    assert scalars(run, "train/loss") == pytest.approx({line["step"]: line["loss"] for line in lines(run)})
    name = next(iter(lines(run)[0]["losses"]))
    assert scalars(run, f"train/losses/{name}") == pytest.approx(
        {line["step"]: line["losses"][name] for line in lines(run)}
    )
    assert scalars(run, "val/semantic/mIoU") == pytest.approx({2: lines(run, "eval")[-1]["semantic"]["mIoU"]})


def test_steps_that_a_resumed_run_repeats_are_dropped_from_its_event_files(dataset, tmp_path):
    run = train(config(dataset, tmp_path, model="unet", steps=2, tensorboard=True, eval_every=1)).run
    shutil.copy(run / "last.pt", tmp_path / "after-2.pt")
    train(TrainConfig(resume=str(run), steps=4))
    assert scalars(run, "train/loss").keys() == {1, 2, 3, 4}
    shutil.copy(tmp_path / "after-2.pt", run / "last.pt")  # as if it had been killed before it saved step 4
    train(TrainConfig(resume=str(run), steps=3))
    assert scalars(run, "train/loss") == pytest.approx({line["step"]: line["loss"] for line in lines(run)})
    assert scalars(run, "train/loss").keys() == {1, 2, 3}


def test_without_the_package_tensorboard_no_run_starts(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match="the package tensorboard is not installed") as caught:
        train(config(dataset, tmp_path, model="unet", steps=2, tensorboard=True))
    assert caught.value.hint == 'pip install "segkit[tensorboard]"'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of itself
def test_a_compiled_model_trains_the_same(dataset, tmp_path):
    some = config(dataset, tmp_path, model="unet", steps=2)
    plain, compiled = train(some).run, train(replace(some, compile=True)).run
    for a, b in zip(lines(plain), lines(compiled), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def test_a_step_that_takes_long_shows_that_it_lives(dataset, tmp_path, segkit, monkeypatch):
    monkeypatch.setattr("segkit.commands.output._Lines.seconds", 0.0)
    outcome = segkit(
        "train", dataset, "--model", "unet", "--weights", "none", "--size", 64, "--device", "cpu", "--steps", 1,
        "--batch", 6, "--micro-batch", 2, "--workers", 0, "--out", tmp_path,
    )  # fmt: skip
    assert outcome.code == 0
    assert "training 0/1: 5 of the 6 images of a batch are loaded\n" in outcome.err
    assert "training 0/1: 4 of the 6 images of a step are done\n" in outcome.err
    assert "training 1/1: evaluating 3/3\n" in outcome.err


FACTS = DataFacts(num_images=40, short_side=128, most_instances=4, usual_instances=2, instance_side=30.0)


@pytest.mark.parametrize(
    ("options", "source", "rate"),
    [
        ({"weights": "none"}, None, 5e-4),
        ({"weights": "imagenet", "backbone": "efficientnet_lite0"}, None, 5e-4),
        ({"weights": "coco"}, None, 2e-4),
        ({"weights": "run.pt"}, "maskrcnn", 2e-4),
        ({"weights": "body.pt"}, None, 5e-4),
        ({"weights": "imagenet", "backbone": "efficientnet_lite0", "model": "unet"}, None, 7.07e-4),
        ({"weights": "run.pt", "model": "unet"}, "unet", 2.83e-4),
    ],
)
def test_the_rate_is_lower_where_the_heads_have_learnt(options, source, rate):
    file = WeightFile({}, {}, "resnet18", "batch", model=source) if options["weights"].endswith(".pt") else None
    config = resolve_defaults(TrainConfig(**options), FACTS, torch.device("cpu"), 1, file)
    assert config.lr == pytest.approx(rate, rel=1e-3)


def test_gpus_that_wait_for_statistics_of_a_gpu_without_pseudo_labels_are_refused(tmp_path):
    some = TrainConfig(dataset=tmp_path, model="unet", norm="sync", weights="none", unlabelled=("more",))
    with pytest.raises(ConfigError, match="--unlabelled and --norm sync do not go together on several GPUs"):
        resolve_defaults(some, FACTS, torch.device("cuda"), 2)
    assert resolve_defaults(some, FACTS, torch.device("cuda"), 1).norm == "sync"
