"""Writing through a temporary file, and relative paths."""

import re
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from random_models import card_of, checkpoint

from segkit.data.files import relative_path, temporary_file
from segkit.errors import user_error


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"flush": True}])
def test_a_file_is_replaced_as_a_whole(tmp_path, options):
    path = tmp_path / "a.json"
    path.write_text("old")
    with temporary_file(path, **options) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path  # a rename over file systems would be a copy
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail():
        with temporary_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_the_error_of_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "a.json"
    full = Path("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught, temporary_file(path), full.open("wb", 0) as file:
        file.write(b"x")
    assert user_error(caught.value).message == f"{path}: No space left on device"


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="Windows has no such limit")
@pytest.mark.parametrize("command", ["convert", "predict"])
def test_a_limit_of_files_is_said_with_the_file_that_reaches_it(parts, here, command):
    checkpoint(here / "m.pt", card_of("unet"))
    words, named = [str(parts), "--images", "copy"], "o"
    if command == "predict":
        words, named = [str(parts), "--model", "m.pt", "--device", "cpu", "--format", "coco"], "o/pictures.jsonl"
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (512, 512))
    code = [sys.executable, "-m", "segkit", command, *words, "--out", "o"]
    done = subprocess.run(code, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert re.search(rf"^error: {named}: File too large$", done.stderr, re.MULTILINE), done.stderr
    assert not list(here.rglob(".*"))


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match=r"a\.json"), temporary_file(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_relative_paths_have_forward_slashes(tmp_path):
    assert relative_path(tmp_path / "a/b.png", tmp_path / "c/d") == "../../a/b.png"
