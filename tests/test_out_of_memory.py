"""Memory that runs out, in whichever library, is one line and exit code 1."""

import errno
import os
import subprocess
import sys

import cv2
import pytest
import torch

from segkit.cli import COMMANDS
from segkit.errors import InputError, tells_of_memory
from segkit.runtime.memory_errors import is_out_of_memory

ERRORS = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:83] data. DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    cv2.error("OpenCV(4.11.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {str(error)[-24:]}")
def test_a_command_without_memory_ends_in_one_line(segkit, parts, here, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("segkit.conversion.convert.open_source", fails)
    outcome = segkit("convert", parts)
    assert outcome.code == 1
    assert outcome.err.startswith("error: out of memory: ")
    assert outcome.err.splitlines()[1].startswith("hint: is there a limit (ulimit -v")
    assert len(outcome.err.splitlines()) == 2
    assert list(here.iterdir()) == []
    assert is_out_of_memory(error)


def test_an_import_that_wraps_the_error_of_a_library_tells_of_memory():
    wrapped = ImportError("numpy: could not be imported")
    wrapped.__cause__ = ImportError("libopenblas.so: failed to map segment from shared object")
    assert tells_of_memory(wrapped)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), InputError("a.json: out of memory"), OSError(2)]
)
def test_other_errors_do_not(error):
    assert not tells_of_memory(error)
    assert not is_out_of_memory(error)


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited by Linux")
def test_too_little_address_space_for_pytorch_is_said_before_and_after(dataset, tmp_path):
    """As ``ulimit -v`` does it; here, to less than PyTorch's libraries alone take."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20));"
        "from segkit.cli import run; sys.argv = ['segkit', 'train', sys.argv[1], '--weights', 'none']; run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(dataset)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    warning, error, hint = done.stderr.splitlines()
    assert warning.startswith("warning: ulimit -v leaves this process 0.49 GiB of addresses, of which PyTorch takes")
    assert error.startswith("error: out of memory: ")
    assert hint.startswith("hint: is there a limit (ulimit -v")
    assert list(tmp_path.iterdir()) == []


WITHOUT_PYTORCH = {
    "convert": ["nowhere"], "label": ["nowhere"], "eval": ["a.json", "--data", "nowhere"], "check": ["nowhere"],
    "doctor": ["nowhere"],
}  # fmt: skip
WITH_PYTORCH = [
    ["train", "nowhere"], ["eval", "nowhere"], ["predict", "a.jpg", "--model", "nowhere"], ["export", "nowhere"],
    ["memprofile", "nowhere"], ["memprofile", "--fit", "nowhere"], ["memprofile", "--", "nowhere.py"],
    ["replay", "nowhere"], ["serve", "nowhere"],
]  # fmt: skip


@pytest.mark.parametrize("words", WITH_PYTORCH, ids=" ".join)
def test_every_command_that_loads_pytorch_warns_of_a_limit_on_addresses(segkit, here, monkeypatch, words):
    monkeypatch.setattr("segkit.runtime.address_space.limit_on_addresses", lambda: "few addresses")
    outcome = segkit(*words)
    assert outcome.code == 1, outcome.err
    assert outcome.err.startswith("warning: few addresses\nerror: ")


def test_commands_that_do_not_load_it_do_not(segkit, here, monkeypatch):
    assert WITHOUT_PYTORCH.keys() | {words[0] for words in WITH_PYTORCH} == COMMANDS.keys()  # a new one belongs to one
    monkeypatch.setattr("segkit.runtime.address_space.limit_on_addresses", lambda: "few addresses")
    (here / "a.json").write_text("[]")
    for command, words in WITHOUT_PYTORCH.items():
        assert segkit(command, *words).err.startswith("error: ")


def test_an_image_that_does_not_fit_is_an_error_of_loading(dataset):
    from segkit.loading.loader import load_batches

    class Large:
        def __getitem__(self, key):
            return torch.empty(1 << 60)  # torch's allocator says this with a RuntimeError

    (batch,) = load_batches(Large(), [["key"]], workers=0)
    assert str(batch[0]) == "out of memory while an image was loaded"
