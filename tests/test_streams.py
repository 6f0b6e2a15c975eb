"""What a command does does not depend on its standard streams: closed, full, or read by nobody."""

import json
import os
import shlex
import subprocess
import sys

import pytest
from training import config

from segkit.training.train import train

pytestmark = pytest.mark.skipif(os.name != "posix", reason="redirections of a POSIX shell")

FINE = [
    "<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| head -c 1", "2>&1 | head -c 1", "2>/dev/full", "| (sleep 2; cat) | wc -c",
]  # fmt: skip
FULL = ">/dev/full"


def run_all(lines):
    """Run shell lines at the same time; exit codes and stderr of their first commands, by line."""
    started = {
        line: subprocess.Popen(
            ["bash", "-c", f"set -o pipefail; {line}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for line in lines
    }  # fmt: skip
    return {line: (process.communicate(timeout=600)[1], process.returncode) for line, process in started.items()}


def segkit_line(arguments, redirection):
    command = shlex.join([sys.executable, "-m", "segkit", *map(str, arguments)])
    return f"{command} {redirection}"


def check(outcomes):
    for line, (err, code) in outcomes.items():
        assert "Traceback" not in err, (line, err)
        assert "Exception ignored" not in err, (line, err)
        if line.endswith(f" {FULL}"):
            assert code == 1, (line, err)
            assert "error: standard output: No space left on device" in err
        else:
            assert code == 0, (line, err)


def test_a_conversion_is_whole_whatever_its_streams_are(parts, here):
    places = {redirection: here / str(number) for number, redirection in enumerate([*FINE, FULL])}
    lines = [segkit_line(["convert", parts, "--out", out, "--json"], each) for each, out in places.items()]
    check(run_all(lines))
    first, *others = places.values()
    for other in others:
        assert (other / "train.json").read_bytes() == (first / "train.json").read_bytes()
        assert (other / "report.json").read_bytes() == (first / "report.json").read_bytes()


def test_names_on_a_standard_input_that_is_closed_or_not_utf8(parts, here):
    (here / "in").mkdir()
    name = os.fsdecode(b"in/gr\xfcn.json")
    (here / name).write_bytes(sorted(parts.glob("*.json"))[0].read_bytes())
    picture = json.loads((here / name).read_text())["imagePath"]
    (here / "in" / picture).write_bytes((parts / picture).read_bytes())
    outcomes = run_all(
        [segkit_line(["convert", "-", "--out", "a"], "<&-"), "ls in/*.json | " + segkit_line(["convert", "-"], "")]
    )
    (closed, code), (given, given_code) = outcomes.values()
    assert (code, given_code) == (1, 0), given
    assert closed.startswith("error: ")
    assert "Traceback" not in closed + given


def test_usage_errors_and_help_with_closed_streams():
    outcomes = run_all([segkit_line(["convert", "--val", "x", "y"], each) for each in ("<&-", ">&-", "2>&-")])
    assert [code for _, code in outcomes.values()] == [2, 2, 2]
    check(run_all([segkit_line(["--help"], each) for each in (FINE[3], FINE[4], FULL)]))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return train(config(dataset, tmp_path_factory.mktemp("run"), model="unet", steps=1)).run


TRAIN = "train {dataset} --steps 1 --size 64 --weights none --batch 2 --device cpu --model unet --out {out} --json"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "predict {parts} --model {run} --out {out} --json",
        "eval {run} --data {dataset} --out {out} --json",
        "export {run} --out {out}.onnx --json",
        TRAIN,
        f"{TRAIN} --ranks 2 --workers 1",
    ],
)
def test_other_commands_are_whole_whatever_their_streams_are(run, parts, dataset, here, command):
    for number, redirection in enumerate([*FINE, FULL]):
        words = [word.format(parts=parts, run=run, dataset=dataset, out=here / str(number)) for word in command.split()]
        check(run_all([segkit_line(words, redirection)]))
    if command.startswith("predict"):
        assert len({(here / str(number) / "results.json").read_bytes() for number in range(len(FINE) + 1)}) == 1
