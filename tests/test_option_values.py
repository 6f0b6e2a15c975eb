"""Every option of every command answers every nonsense value with one line and the documented exit code."""

import re
from typing import get_args, get_type_hints

import pytest

from segkit.cli import COMMANDS
from segkit.config.fields import declaration_of, flag_of, options_of

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
