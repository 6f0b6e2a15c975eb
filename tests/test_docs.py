"""The pages: every command in them can be typed, and every link leads somewhere."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from typer.main import get_command

import segkit
from segkit.cli import app

PAGES = sorted([ROOT / "README.md", ROOT / "README.zh.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "<", ")", "2>&1"}


def in_blocks(text):
    """The lines of code blocks."""
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\$\w+", "1", line) for line in lines]  # of a loop


def in_sentences(text):
    """The commands that the text names, which may leave out what is not the point."""
    return re.findall(r"`(segkit [^`]+)`", BLOCK.sub("", text))


def commands_of(lines):
    """The words after each ``segkit`` up to the end of the command."""
    for line in lines:
        reader = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
        reader.whitespace_split = True
        try:
            words = list(reader)
        except ValueError:
            continue  # no line of a shell
        starts = [number for number, word in enumerate(words) if word == "segkit"]
        for start in starts:
            rest = words[start + 1 :]
            end = next((number for number, word in enumerate(rest) if word in ENDS), len(rest))
            if rest[:end] and not rest[0].startswith("-"):
                yield rest[:end]


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_be_typed(page, monkeypatch):
    monkeypatch.setattr("segkit.commands.options.read_toml", lambda path: {})  # --config FILE
    text, main = page.read_text(encoding="utf-8"), get_command(app)
    for name, *words in commands_of(in_blocks(text)):
        if name != "COMMAND":
            assert name in main.commands, (name, *words)
            main.commands[name].make_context(name, words)  # raises what is wrong with them
    for name, *words in commands_of(in_sentences(text)):
        if name not in ("COMMAND", "help"):
            assert name in main.commands, (name, *words)
            known = {"--help"} | {
                flag for each in main.commands[name].params for flag in (*each.opts, *each.secondary_opts)
            }
            own = words[: words.index("--")] if "--" in words else words
            assert {word.split("=")[0] for word in own if word.startswith("-") and word != "-"} <= known, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        path = (page.parent / place).resolve() if place else page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
            assert anchor in {slug(each) for each in headings}, target


def test_the_commands_of_a_page_are_found():
    page = (
        "```\nsegkit predict 'a/*.tif' --json | jq .x  # and\nfind . | segkit convert - \\\n  --out b\n```\n"
        "`segkit train -q`"
    )
    assert list(commands_of([*in_blocks(page), *in_sentences(page)])) == [
        ["predict", "a/*.tif", "--json"],
        ["convert", "-", "--out", "b"],
        ["train", "-q"],
    ]
    assert Path(PAGES[0]).is_file()


def test_the_leaking_example_is_diagnosed(segkit, here):
    leak = ROOT / "examples/leak.py"
    (line,) = [n for n, text in enumerate(leak.read_text().splitlines(), 1) if "# LEAK" in text]
    outcome = segkit("memprofile", "--steps", 30, "--", leak)
    assert outcome.code == 3, outcome.err
    assert f"leak.py:{line}" in outcome.err
    assert "loss.item()" in outcome.err


PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_page_of_the_python_api_names_what_there_is():
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bsegkit\.([a-zA-Z_]+)\(", page)) | set(re.findall(r"`([A-Z][A-Za-z]+)`", page))
    assert named <= set(segkit.__all__) | {"DeprecationWarning", "Path"}
    functions = {name for name in segkit.__all__ if name[0].islower() and name != "__version__"}
    assert functions <= named
    for block in PYTHON.findall(page):
        ast.parse(block)


@pytest.mark.slow
def test_the_examples_of_the_python_api_run(parts, tmp_path):
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    shutil.copytree(parts, tmp_path / "labelme-dir")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    code = "\n".join(PYTHON.findall(page))
    assert "steps=200" in code
    code = code.replace("steps=200", "steps=3, device='cpu', size=64")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("mIoU", "stesp: there is no such option; is steps meant?", "leak.py:"):
        assert said in done.stdout


TRANSLATIONS = {"docs/zh/tutorial.md": "docs/tutorial.md", "README.zh.md": "README.md"}


@pytest.mark.parametrize("translation", TRANSLATIONS)
def test_translations_have_the_same_commands_headings_and_names(translation):
    """A change of one page without the other is seen: blocks are equal, and so are options and files in the text."""
    other, own = ((ROOT / page).read_text(encoding="utf-8") for page in (TRANSLATIONS[translation], translation))
    assert BLOCK.findall(own) == BLOCK.findall(other)
    levels = [re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE) for text in (own, other)]
    assert levels[0] == levels[1]
    pages = {ROOT / translation, ROOT / TRANSLATIONS[translation]}
    links = [{(page.parent / link).resolve() for link in LINK.findall(text)} - pages
             for page, text in ((ROOT / translation, own), (ROOT / TRANSLATIONS[translation], other))]  # fmt: skip
    assert links[0] == links[1]
    own_names, names = (sorted(re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))) for text in (own, other))
    assert own_names == names
    assert re.search(r"[\u4e00-\u9fff]", own)


def test_troubleshooting_md_is_up_to_date():
    code = "import runpy; print(runpy.run_path('docs/make_troubleshooting.py')['render'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    assert done.stdout == page, "run: python docs/make_troubleshooting.py"
    assert page.count("\n| ") > 300
