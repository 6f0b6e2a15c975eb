"""The command line: help, start-up, documentation, and how errors are printed."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from conftest import ROOT

from segkit import __version__
from segkit.cli import COMMANDS
from segkit.config.fields import declaration_of, flag_of, options_of

HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "PIL",
    "cv2",
    "pycocotools",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "labelme",
)


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["train", "--help"], ["memprofile", "-h"]])
def test_help_does_not_import_torch_or_numpy(arguments):
    code = (
        "import sys; from segkit.cli import main; code = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == "[]\n"
    assert "Usage: segkit" in done.stdout


@pytest.mark.parametrize("command", ["convert", "train", "eval", "predict", "memprofile", "export", "label"])
def test_every_command_has_help_with_an_example(segkit, command):
    outcome = segkit(command, "--help")
    assert outcome.code == 0
    assert f"Example:  segkit {command}" in outcome.out
    for flag in ("--json", "--quiet", "--config"):
        assert flag in outcome.out
    assert segkit("--help").out.count(f"\n  {command} ") == 1


def test_the_pages_of_commands_are_up_to_date():
    code = (
        "import json, runpy; made = runpy.run_path('docs/make_cli.py')['render']();"
        "print(json.dumps({str(path): text for path, text in made.items()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    pages = {ROOT / path: text for path, text in json.loads(done.stdout).items()}
    assert pages.keys() == {ROOT / "docs/cli.md", *(ROOT / "docs/commands").glob("*.md")}
    for path, text in pages.items():
        assert text == path.read_text(encoding="utf-8"), "run: python docs/make_cli.py"
        if path.name != "cli.md":
            by_hand = text.partition("<!-- What follows is generated")[0]
            assert "```" in by_hand, f"{path}: has no example"
            assert len(by_hand.split()) > 80, f"{path}: has no introduction"


def test_the_architecture_page_names_every_folder():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    built = (".so", ".pyd")
    tops = [p for p in (ROOT / "segkit").iterdir() if not p.name.startswith("__") and p.suffix not in built]
    assert [p.name for p in tops if p.stem not in page] == []


def test_version(segkit):
    first, environment = segkit("--version").out.splitlines()
    assert first == f"segkit {__version__}"
    assert f"torch {version('torch')}" in environment
    for words in (["help"], ["help", "train"]):
        assert segkit(*words) == segkit(*words[1:], "--help")
    assert segkit("help", "nothing").code == 2


def test_completion_can_be_installed(segkit):
    assert "--install-completion" in segkit("--help").out


@pytest.mark.parametrize("environment", [{}, {"TYPER_USE_RICH": "0"}])
def test_no_command_shows_help_and_nothing_else(environment):
    alone, asked = (
        subprocess.run(
            [sys.executable, "-m", "segkit", *arguments], capture_output=True, text=True, check=False,
            env=os.environ | environment,
        )
        for arguments in ([], ["--help"])
    )  # fmt: skip
    assert (alone.returncode, alone.stderr) == (2, "")
    assert "Usage: segkit" in alone.stdout
    assert alone.stdout.split() == asked.stdout.split()


def test_an_unknown_command(segkit):
    outcome = segkit("trian")
    assert outcome.code == 2
    assert outcome.err.startswith("error: No such command 'trian'")
    assert "hint: see segkit --help" in outcome.err


def test_quiet_prints_nothing(segkit, here, parts):
    outcome = segkit("convert", parts, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_no_colours_and_bars_in_a_log(segkit, here, parts):
    outcome = segkit("convert", parts)
    assert "\x1b" not in outcome.err


def _can_mount() -> bool:
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux" or not _can_mount(), reason="needs the right to mount a small disk")
@pytest.mark.parametrize(
    "command",
    ["convert {parts} --images copy --out {disk}/d", "train {dataset} --model unet --weights none --size 64 --steps 2 "
     "--batch 2 --device cpu --out {disk}/runs"],
)  # fmt: skip
def test_a_full_disk(tmp_path, parts, dataset, command):
    disk = tmp_path / "disk"
    disk.mkdir()
    line = command.format(parts=parts, dataset=dataset, disk=disk)
    script = (
        f"mount -t tmpfs -o size=32k none {disk} && {sys.executable} -m segkit {line}; code=$?; "
        f"ls -A {disk} {disk}/runs/unet-1 2>/dev/null >&2; exit $code"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "error: " in done.stderr
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert ".writing" not in done.stderr


def test_public_modules_are_documented():
    for path in sorted((ROOT / "segkit").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not text or text.startswith('"""'), path


def test_modules_stay_small():
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in Path(ROOT / "segkit").rglob("*.py")}
    assert {str(p): n for p, n in sizes.items() if n > 350} == {}


@pytest.mark.parametrize("command", ["train", "predict"])
def test_help_of_many_options_begins_with_the_most_used(segkit, command):
    text = segkit(command, "--help").out
    first = COMMANDS[command].config_type.first
    names = {each.name: flag_of(each) for each in options_of(COMMANDS[command].config_type)}
    assert len(first) == 10
    panel = text.partition("Most used; the others follow:")[2].partition("\n\n")[0]
    assert re.findall(r"^  (--[a-z-]+)", panel, re.MULTILINE) == [names[name] for name in first]
    flags = {name for name in names.values() if name.startswith("--")}
    assert set(re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)) >= flags


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_the_same_in_boxes_and_without(segkit, command, monkeypatch):
    """Boxes are for a terminal that draws; what is in a pipe, or read aloud, has neither boxes nor markup."""
    plain = segkit(command, "--help").out
    assert not set(plain) & set("│╭╰─━")
    assert "[bold]" not in plain
    assert "\\[" not in plain
    monkeypatch.setattr("segkit.commands.typer_command.can_draw", lambda: True)
    boxed = segkit(command, "--help").out
    assert "╭─ " in boxed
    for text in (plain, boxed):
        words = " ".join(re.sub("[│╭╰╮╯─]", " ", text).split())
        for each in options_of(COMMANDS[command].config_type):
            declared = declaration_of(each)
            if declared.after_separator:
                continue
            assert declared.argument or flag_of(each) in words
    for hint in get_type_hints(COMMANDS[command].config_type).values():
        for kind in (hint, *get_args(hint)):
            names = map(str, get_args(kind) if get_origin(kind) is Literal else ())
            assert [name for name in names if name not in boxed] == [], "none is cut off in the middle"


def test_the_hint_of_an_option_without_its_value_names_the_command(segkit):
    outcome = segkit("predict", "a.png", "--nms-across")
    assert outcome.code == 2
    assert "hint: see segkit predict --help" in outcome.err
