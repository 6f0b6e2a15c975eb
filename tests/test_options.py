"""Options as they are typed: sizes, optional values, what follows ``--``, and what counts as given."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import torch
import typer
from training import config

from segkit.commands.options import configured_by
from segkit.commands.typer_command import ConfiguredCommand
from segkit.config.convert import ConvertConfig
from segkit.config.evaluate import EvalConfig
from segkit.config.export import ExportConfig
from segkit.config.fields import declaration_of, flag_of, load_config, options_of, write_toml
from segkit.config.label import LabelConfig
from segkit.config.memprofile import MemprofileConfig
from segkit.config.parsers import parse_size, parse_sizes
from segkit.config.predict import PredictConfig
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError
from segkit.training.run_options import config_of_run
from segkit.training.train import train

RECORDS = (ConvertConfig, TrainConfig, EvalConfig, PredictConfig, MemprofileConfig, ExportConfig, LabelConfig)
SIZE_OPTIONS = [
    (record, each)
    for record in RECORDS
    for each in options_of(record)
    if declaration_of(each).parse in (parse_size, parse_sizes)
]
SIZES = {
    "8GiB": 8 * 1024**3, "8Gi": 8 * 1024**3, "8G": 8 * 1024**3, "8g": 8 * 1024**3, "8GB": 8 * 1000**3,
    "96MiB": 96 * 1024**2, "96Mi": 96 * 1024**2, "96M": 96 * 1024**2, "96 MB": 96 * 1000**2,
    "65536KiB": 64 * 1024**2, "65536Ki": 64 * 1024**2, "65536k": 64 * 1024**2, "98304kB": 98304 * 1000,
    "1TiB": 1024**4, "1Ti": 1024**4, "1T": 1024**4, "1 TB": 1000**4,
    "67108864": 64 * 1024**2, "67108864B": 64 * 1024**2, "67108864 B": 64 * 1024**2, "1.5 GiB": 3 * 1024**3 // 2,
}  # fmt: skip


def parsed(record, *arguments):
    """The record that a command with these options is called with."""
    seen = []

    def command(config, output):
        seen.append(config)
        return 0

    app = typer.Typer()
    app.command(cls=ConfiguredCommand)(configured_by(record)(command))
    typer.main.get_command(app).main([str(argument) for argument in arguments], standalone_mode=False)
    return seen[0]


def test_these_options_take_sizes():
    assert {(record.__name__, flag_of(each)) for record, each in SIZE_OPTIONS} == {
        ("TrainConfig", "--vram"), ("MemprofileConfig", "--vram"), ("MemprofileConfig", "--limit"),
        ("MemprofileConfig", "--overhead"), ("PredictConfig", "--max-rss"),
        ("PredictConfig", "--vram"), ("EvalConfig", "--vram"),
    }  # fmt: skip


@pytest.mark.parametrize(("record", "each"), SIZE_OPTIONS)
def test_every_option_reads_sizes_alike(record, each):
    more = ["--fit"] if record is MemprofileConfig and each.name != "limit" else []
    more = ["in", "--watch"] if record is PredictConfig else more
    for text, size in SIZES.items():
        value = getattr(parsed(record, *more, flag_of(each), text), each.name)
        assert value == ((size,) if declaration_of(each).parse is parse_sizes else size), text
    assert "8G = 8GiB = 8 x 1024^3 bytes; 8GB = 8 x 1000^3 bytes" in declaration_of(each).help


@pytest.mark.parametrize("text", ["much", "", "G", "8 bytes", "8KK", "8iB", "-8G", "0", "0.4 B", "1e3", "9" * 400])
def test_an_invalid_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size such as 6GiB or 800MB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("arguments", "resume", "dataset", "steps"),
    [
        (["--resume"], "latest", "dataset", None),
        (["--resume", "runs/a"], "runs/a", "dataset", None),
        (["--resume=runs/a"], "runs/a", "dataset", None),
        (["--resume", "--steps", "5"], "latest", "dataset", 5),
        (["--steps", "5", "--resume"], "latest", "dataset", 5),
        (["d", "--resume"], "latest", "d", None),
        (["--resume", "--", "d"], "latest", "d", None),
        (["--resume", "runs/a", "d"], "runs/a", "d", None),
        (["--name", "--resume"], None, "dataset", None),
        ([], None, "dataset", None),
    ],
)
def test_resume_needs_no_value(arguments, resume, dataset, steps):
    config = parsed(TrainConfig, *arguments)
    assert (config.resume, str(config.dataset), config.steps) == (resume, dataset, steps)


@pytest.mark.parametrize(
    ("arguments", "run", "script"),
    [
        (["--", "train.py", "--resume"], None, ["train.py", "--resume"]),
        (["--steps", "9", "--", "python", "-m", "pkg", "--steps", "5"], None, ["python", "-m", "pkg", "--steps", "5"]),
        (["--", "train.py", "--", "x"], None, ["train.py", "--", "x"]),
        (["train.py", "x"], None, ["train.py", "x"]),
        (["train.py", "--", "--lr", "3"], None, ["train.py", "--lr", "3"]),
        (["runs/a"], "runs/a", None),
        ([], None, None),
    ],
)
def test_the_words_after_two_dashes_are_the_script(arguments, run, script):
    config = parsed(MemprofileConfig, *arguments)
    assert (config.run and str(config.run), config.script) == (run, script)
    assert config.steps == (9 if "9" in arguments else None)


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--"], "which script"), (["a", "b"], "one run"), (["a", "--", "b.py"], "one run")]
)
def test_a_run_and_a_script_are_not_measured_together(arguments, message):
    with pytest.raises(ConfigError, match=message):
        _ = parsed(MemprofileConfig, *arguments).script


def test_the_shell_completes_options():
    words = {"COMP_WORDS": "segkit train --res", "COMP_CWORD": "2", "_SEGKIT_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv = ['segkit']; from segkit.cli import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | words
    )
    assert done.stdout.split() == ["--resume"]


def test_options_on_the_command_line_or_in_the_file_count_as_given(tmp_path):
    (tmp_path / "c.toml").write_text('memory = "normal"\nlr = 0.1\n')
    plain = parsed(TrainConfig)
    assert plain.given_options() == frozenset()
    both = parsed(TrainConfig, "--config", tmp_path / "c.toml", "--epochs", 3, "--seed", 0, "--no-channels-last")
    assert both.given_options() == {"memory", "lr", "epochs", "seed", "channels_last"}
    assert parsed(MemprofileConfig, "--", "train.py").given_options() == {"command"}
    assert TrainConfig(memory="low", steps=3, seed=0).given_options() == {"memory", "steps"}


def test_given_options_are_not_written(tmp_path):
    write_toml(parsed(TrainConfig, "--lr", "0.1"), tmp_path / "c.toml")
    assert "given" not in tomllib.loads((tmp_path / "c.toml").read_text())
    assert load_config(TrainConfig, tmp_path / "c.toml").lr == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fit", "--step-every", 1], "--fit and --step-every"),
        (["--fit", "--device", "auto"], "--fit and --device"),
        (["--explain", "m.json", "--steps", 9], "--explain and --steps"),
        (["--explain", "m.json", "runs/a"], "--explain and RUN"),
        (["--explain", "m.json", "--", "train.py"], "--explain and --"),
        (["--device", "auto", "--", "train.py"], "a script and --device"),
    ],
)
def test_memprofile_refuses_an_option_without_effect_even_with_its_default(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parsed(MemprofileConfig, *arguments)


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["--score", "0.5", "--bootstrap", "1000"], ["--score", "--bootstrap"]),
        (["--score", "0.5", "--details"], []),
        (["--images-dir", ".", "--compare", "b"], []),
        ([], []),
    ],
)
def test_eval_refuses_or_warns_of_options_without_effect(arguments, unused):
    assert parsed(EvalConfig, *arguments).unused_options() == unused


@pytest.fixture(scope="module")
def low_run(dataset, tmp_path_factory):
    """A run made with ``--memory low``."""
    some = config(dataset, tmp_path_factory.mktemp("runs"), model="unet", steps=1, memory="low", dropout=0.1, name="a")
    return train(some).run


def test_on_resume_an_option_can_be_set_back_to_its_default(low_run, segkit):
    assert config_of_run(parsed(TrainConfig, "--resume", low_run)).memory == "low"
    assert config_of_run(parsed(TrainConfig, "--resume", low_run, "--memory", "normal")).memory == "normal"
    assert config_of_run(parsed(TrainConfig, "--resume", low_run, "--device", "auto")).device == "auto"
    assert config_of_run(parsed(TrainConfig, "--resume", low_run, "--ranks", 2)).device == "cpu"
    assert segkit("train", "--resume", low_run, "--memory", "normal", "--steps", 2).code == 0


OTHER_VALUES = {
    "--model": "maskrcnn", "--backbone": "resnet50", "--weights": "imagenet",
    "--init": "xavier", "--norm": "group", "--freeze": "stem", "--loss": "ce", "--dropout": "0", "--eval-every": "1",
    "--precision": "auto", "--channels-last": "--no-channels-last", "--deterministic": "--deterministic",
    "--optimizer": "sgd", "--lr": "0.5", "--lr-factors": "heads=2", "--weight-decay": "0.5", "--momentum": "0.5",
    "--schedule": "poly", "--warmup": "7", "--clip-grad": "1", "--ema": "0.5", "--size": "96", "--max-size": "999",
    "--augment": "none", "--balance": "--balance", "--seed": "1", "--batch": "4", "--name": "b", "--out": "elsewhere",
    "--qat": "elsewhere",
    "--heads": "v2", "--anchor-sizes": "9,18,36,72,144", "--anchor-ratios": "0.4,1,2", "--fpn-levels": "2,3,4",
    "--roi-size": "5", "--roi-sampling": "1", "--proposals": "77", "--rois": "33", "--detections": "44", "--nms": "0.6",
    "--lr-steps": "3,6", "--lr-gamma": "0.2", "--teacher": "runs/t", "--teacher-weight": "2",
    "--mask-head": "pointrend", "--mask-size": "56", "--instances": "distance", "--channels": "1",
    "--variant": "small", "--class-weights": "auto", "--label-smoothing": "0.1",
    "--unlabelled": "more", "--unlabelled-weight": "0.5", "--unfreeze-after": "3", "--fold": "2", "--stuff": "sky",
    "--semantic-weight": "2",
    "--label-share": "0.5", "--label-curve": "--label-curve", "--curve-seeds": "4",
}  # fmt: skip
MAY_CHANGE = {
    "--epochs", "--steps", "--time", "--patience", "--gpus", "--device", "--ranks", "--micro-batch", "--vram",
    "--memory", "--compile", "--bad-pictures", "--workers", "--tensorboard", "--failures", "--resume", "--shard",
    "DATASET",
}  # fmt: skip


def test_every_option_can_change_or_is_refused_on_resume():
    assert OTHER_VALUES.keys() | MAY_CHANGE == {flag_of(each) for each in options_of(TrainConfig)}
    assert not OTHER_VALUES.keys() & MAY_CHANGE


@pytest.mark.parametrize("flag", OTHER_VALUES)
def test_on_resume_another_value_is_refused_by_name(low_run, segkit, here, flag):
    value = OTHER_VALUES[flag]
    words = [value] if value.startswith("--") else [flag, value]
    outcome = segkit("train", *words, "--resume", low_run)
    assert outcome.code == 1
    assert outcome.err.startswith(
        f"error: --resume goes on with the config of {low_run}: {flag} cannot be changed\nhint: for a new run"
    )


def test_on_resume_the_same_value_is_accepted(low_run, dataset):
    stored = tomllib.loads((low_run / "config.toml").read_text())
    words = [dataset, "--out", low_run.parent, "--name", "a"]
    for each in options_of(TrainConfig):
        flag, value = flag_of(each), stored.get(each.name)
        if flag in OTHER_VALUES and each.name not in ("dataset", "out", "name") and value is not None:
            words += [flag, value] if not isinstance(value, bool) else [flag] if value else []
    again = config_of_run(parsed(TrainConfig, *words, "--resume", low_run))
    assert again == config_of_run(parsed(TrainConfig, "--resume", low_run))
    from_file = parsed(TrainConfig, "--config", low_run / "config.toml", "--resume", low_run)
    assert config_of_run(from_file) == again


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used")
def test_memprofile_uses_the_given_device_even_if_it_is_the_default(low_run, here, segkit):
    text = (low_run / "config.toml").read_text().replace('device = "cpu"', 'gpus = "0"')
    (here / "c.toml").write_text(text)
    outcome = segkit("memprofile", "c.toml", "--steps", 2)
    assert (outcome.code, outcome.err.splitlines()[0]) == (
        1,
        "error: the run was made for GPUs, and there is none here",
    )
    outcome = segkit("memprofile", "c.toml", "--steps", 2, "--device", "auto")
    assert outcome.code == 5, outcome.err
