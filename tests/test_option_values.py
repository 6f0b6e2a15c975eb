"""Every option of every command answers every nonsense value with one line and the documented exit code."""

import re
import tomllib
from typing import get_args, get_type_hints

import pytest

import segkit as api
from segkit.cli import COMMANDS
from segkit.config.fields import declaration_of, flag_of, load_config, options_of
from segkit.config.train import TrainConfig
from segkit.errors import ConfigError

NO_NUMBERS = [
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "../../nothing",
    "\x1b[31m",
    "7 apples",
    "x" * 5000,
    "true",
    "\udcff",
]
HUGE, INFINITE = str(10**30), "-" + "9" * 400  # no whole number of 63 bits; no finite number
VALUES = [*NO_NUMBERS, "-1", "0", HUGE, INFINITE, "missing.json", "1,2,x", "é", "[red]", "=1", "--"]
# Words of pydantic, which Typer uses, of msgspec, and of Python's own converters.
LEAKED = (
    r"Value error|Input should|[Vv]alid integer|unable to parse|Assertion failed|Expected `|invalid literal|could not"
)
# With these, a command that accepts the value fails at once: what it is about is missing.
REST = {
    "convert": ["missing"],
    "train": ["missing"],
    "eval": ["missing.json", "--data", "missing"],
    "predict": ["missing"],
    "memprofile": ["--fit", "missing"],
    "export": ["missing"],
    "label": ["missing"],
    "serve": ["missing"],
    "replay": ["missing"],
    "check": ["missing"],
    "doctor": ["missing"],
}
OPTIONS = [
    (name, option, get_type_hints(command.config_type)[option.name])
    for name, command in COMMANDS.items()
    for option in options_of(command.config_type)
    if not declaration_of(option).after_separator
]


def arguments(command, option, hint, value):
    if declaration_of(option).argument:
        return [command, value]
    if hint is bool:
        return [command, *REST[command], f"{flag_of(option)}={value}"]
    return [command, *REST[command], flag_of(option), value]


def check(segkit, command, option, hint, value):
    outcome = segkit(*arguments(command, option, hint, value))
    assert outcome.code in (1, 2), (value, outcome.err)
    assert re.match(r"(warning: .*\n)*error: .+", outcome.err), (value, outcome.err)
    assert "Traceback" not in outcome.err
    assert not re.search(LEAKED, outcome.err), (value, outcome.err)
    assert "\x1b[31m" not in outcome.err
    kinds = {hint, *get_args(hint)} if declaration_of(option).parse is None else set()
    if (kinds & {int, float} and value in (*NO_NUMBERS, INFINITE)) or (int in kinds and value == HUGE):
        assert outcome.code == 2, (value, outcome.err)


@pytest.mark.parametrize("command", COMMANDS)
def test_nonsense_is_refused_in_one_line(segkit, here, command):
    """Three values for each option, others for the next; all of them are slow."""
    for number, (name, option, hint) in enumerate(OPTIONS):
        for shift in range(3) if name == command else ():
            check(segkit, name, option, hint, VALUES[(3 * number + shift) % len(VALUES)])
    assert list(here.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("command", "option", "hint"), OPTIONS, ids=lambda each: getattr(each, "name", None))
def test_all_nonsense_is_refused_in_one_line(segkit, here, command, option, hint):
    for value in VALUES:
        check(segkit, command, option, hint, value)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_options_that_is_missing_or_nonsense(segkit, here, command):
    (here / "folder").mkdir()
    for content in (b"", b"\xff", b"x", b"[a]\nb=1", b"seed = []", b"out = 1979-05-27"):
        (here / "c.toml").write_bytes(content)
        outcome = segkit(command, *REST[command], "--config", "c.toml")
        assert outcome.code in (1, 2), (content, outcome.err)
        assert "error: " in outcome.err
    for name in ("missing.toml", "folder"):
        outcome = segkit(command, *REST[command], "--config", name)
        assert (outcome.code, outcome.err.split(":")[0]) == (1, "error"), outcome.err


@pytest.mark.parametrize(
    "variables",
    [{"RANK": "x", "WORLD_SIZE": "2"}, {"RANK": "5", "WORLD_SIZE": "2"}, {"RANK": "-1", "WORLD_SIZE": "2"},
     {"RANK": "0", "WORLD_SIZE": ""}, {"RANK": "0", "WORLD_SIZE": "0"}, {"SLURM_STEP_NUM_TASKS": "many"},
     {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999999"},
     {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}, {"RANK": "0", "WORLD_SIZE": "2"},
     {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "no-such-host.invalid", "MASTER_PORT": "29500"}],
)  # fmt: skip
def test_wrong_variables_of_a_launcher_are_named(segkit, here, dataset, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outcome = segkit("train", dataset, "--steps", 1, "--device", "cpu", "--weights", "none")
    assert outcome.code == 1, outcome.err
    assert "error: " in outcome.err
    assert "hint: torchrun and srun set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT" in outcome.err
    assert list(here.iterdir()) == []


WRONG = {
    "steps = 'many'": "steps: 'many' is not a whole number",
    "steps = 0": "steps: 0 is less than 1",
    "steps = 1.5": "steps: 1.5 is not a whole number",
    "steps = true": "steps: True is not a whole number",
    "lr = nan": "lr: nan is no number to compute with",
    "lr = [1]": "lr: [1] is not a number",
    "model = 'yolo'": "model: 'yolo' is not one of maskrcnn, fasterrcnn, ",
    "deterministic = 1": "deterministic: 1 is neither true nor false",
    "vram = '6 apples'": "vram: '6 apples' is not a size such as 6GiB or 800MB",
    "vram = true": "vram: True is not a number",
    "gpus = [0, 0]": "gpus: '0,0' is not a list of distinct numbers such as 0,1",
    "out = 1979-05-27": "out: datetime.date(1979, 5, 27) is neither a text nor a path",
}


@pytest.mark.parametrize(("line", "message"), WRONG.items())
def test_a_wrong_value_is_named_alike_in_a_file_in_a_run_and_in_python(segkit, here, line, message):
    """The roads of a value besides the command line, which the tests above try."""
    (here / "c.toml").write_text(line)
    outcome = segkit("train", "d", "--config", "c.toml")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: Invalid value for '--config': c.toml: {message}")
    (here / "run").mkdir()
    (here / "run/config.toml").write_text(line)
    with pytest.raises(ConfigError) as caught:
        load_config(TrainConfig, here / "run/config.toml")
    assert caught.value.message.startswith(f"{here / 'run/config.toml'}: {message}")
    name, value = tomllib.loads(line).popitem()
    with pytest.raises(ConfigError) as caught:
        api.train("d", **{name: value})
    assert caught.value.message.startswith(message)


def test_a_file_of_options_may_have_lists_and_tables(segkit, here):
    """As in Python; what is typed as text reads the same."""
    (here / "c.toml").write_text("gpus = [0, 1]\nareas = []\n[map]\na = 'b'\n")
    assert "unknown keys: areas, gpus" in segkit("convert", "missing", "--config", "c.toml").err
    (here / "c.toml").write_text("images = 'copy'\n[map]\na = 'b'\n")
    assert "missing: no such file" in segkit("convert", "missing", "--config", "c.toml").err
    (here / "c.toml").write_text("areas = []\niou = ['segm']\n")
    outcome = segkit("eval", "missing.json", "--data", "missing", "--config", "c.toml")
    assert (outcome.code, "missing" in outcome.err) == (1, True)
