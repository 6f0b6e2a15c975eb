"""``segkit doctor``: what it says of machines with and without a GPU, of settings, packages and folders."""

import json
import os
import sys
from dataclasses import replace
from importlib.metadata import metadata
from types import SimpleNamespace

import pytest

from segkit.commands.render.doctor import block
from segkit.doctor import machine, packages, programs
from segkit.doctor.facts import Checkup, Fact
from segkit.doctor.folder import check_folder
from segkit.doctor.gpus import check_driver, check_memory
from segkit.doctor.machine import check_machine
from segkit.doctor.packages import PURPOSES, check_packages
from segkit.doctor.pytorch import check_pytorch, probe
from segkit.doctor.settings import check_settings


def states(facts):
    return [(fact.state, fact.what) for fact in facts]


class Nvml:
    """NVIDIA's management library on a machine with one GPU."""

    NVMLError = type("NVMLError", (Exception,), {})
    nvmlMemory_v2 = 2

    def __init__(self, processes=(), cuda=13000, used=0):
        self.processes, self.cuda, self.used = processes, cuda, used

    def nvmlSystemGetDriverVersion(self):
        return "580.12"

    def nvmlSystemGetCudaDriverVersion_v2(self):
        return self.cuda

    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, number):
        return number

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA T400"

    def nvmlDeviceGetMemoryInfo(self, handle, version=1):
        return SimpleNamespace(free=(4 << 30) - self.used, total=4 << 30, used=self.used, reserved=0)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):
        raise self.NVMLError


PYTORCH = {
    "torch": "2.14.1+cu130", "torchvision": "0.29.1", "cuda": "13.0", "archs": ["sm_75", "sm_90"], "available": True,
    "devices": [], "weights": [],
}  # fmt: skip


def test_the_command_says_what_is_there_and_leaves_nothing_behind(segkit, here):
    said = segkit("doctor", "--json")
    found = json.loads(said.out)
    assert said.code == (3 if found["problems"] else 0)
    assert {"python", "pytorch", "machine", "labelme", "folder"} <= {fact["area"] for fact in found["facts"]}
    assert found["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert any(fact["what"].startswith("torch ") and fact["state"] == "ok" for fact in found["facts"])
    assert "this folder has no pictures" in said.err
    assert not list(here.iterdir())


def test_a_folder_that_is_not_there(segkit):
    said = segkit("doctor", "nowhere")
    assert (said.code, "nowhere: no such folder" in said.err) == (1, True)


def test_one_thing_on_stdout(segkit, here):
    said = segkit("doctor", "--json", "--report")
    assert (said.code, said.out, "both write to stdout" in said.err) == (1, "", True)


@pytest.mark.parametrize(
    ("pytorch", "cuda", "hidden", "words"),
    [
        (PYTORCH | {"cuda": None, "available": False}, 13000, None, "built for CPUs only, and there is a GPU"),
        (PYTORCH | {"available": False}, 12040, None, "the driver knows CUDA up to 12.4"),
        (PYTORCH | {"available": False}, 13000, "", "CUDA_VISIBLE_DEVICES='' hides every GPU"),
        (PYTORCH | {"available": False}, 13000, None, "PyTorch finds no GPU, though the driver answers"),
    ],
)
def test_a_driver_that_pytorch_cannot_use_is_a_problem(pytorch, cuda, hidden, words, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    (problem,) = [fact for fact in check_driver(Nvml(cuda=cuda), pytorch) if fact.state == "problem"]
    assert words in problem.what
    assert problem.hint


def test_a_gpu_that_works_and_none_are_no_problems():
    assert states(check_driver(Nvml(), PYTORCH)) == [("ok", "driver 580.12, for CUDA up to 13.0")]
    assert [fact.state for fact in check_driver(None, PYTORCH)] == ["note"]


def test_who_holds_the_memory_of_a_gpu():
    own = os.getpid()
    first, holder, *more = check_memory(Nvml([(own, 1 << 30)], used=1 << 30))
    assert first.what == "GPU 0, NVIDIA T400: 3.00 GiB of 4.00 GiB are free"
    assert f"1.00 GiB held by process {own} (" in holder.what
    assert not more
    gone = 2**22 + 1  # more than any process number of Linux
    assert "cannot be seen from here" in list(check_memory(Nvml([(gone, 1 << 30)], used=1 << 30)))[1].what
    *_, unseen = check_memory(Nvml(used=2 << 30))
    assert (unseen.state, "2.00 GiB are held" in unseen.what) == ("note", True)


def test_gpus_that_fail_in_pytorch():
    devices = [
        {"name": "A", "capability": (6, 1), "error": "no kernel image is available"},
        {"name": "B", "capability": (9, 0), "sum": 64.0**3},
        {"name": "C", "capability": (9, 0), "sum": 1.0},
    ]
    first, *each = check_pytorch(PYTORCH | {"devices": devices}, "")
    assert first.state == "ok"
    assert [fact.state for fact in each] == ["problem", "ok", "problem"]
    assert "sm_75, sm_90" in each[0].hint


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise SystemError('operator torchvision::nms does not exist')", "torchvision::nms does not exist"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ("import time; time.sleep(60)", "did not start within 2 s"),
    ],
)
def test_a_pytorch_that_ends_or_hangs_is_named(program, why):
    (problem,) = check_pytorch(*probe(2.0, program))
    assert problem.state == "problem"
    assert why in problem.what


@pytest.mark.parametrize(
    ("environment", "state", "words"),
    [
        ({"PYTORCH_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:64"}, "problem", "grow without bound"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync,expandable_segments:True"}, "problem", "does nothing"),
        ({"PYTORCH_ALLOC_CONF": "backend:cudaMallocAsync"}, "note", "sees less"),
        ({"PYTORCH_ALLOC_CONF": "a:1", "PYTORCH_CUDA_ALLOC_CONF": "a:2"}, "problem", "different things"),
        ({"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}, "note", "steps are slow"),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, "note", "waits for the GPU"),
        ({"OMP_NUM_THREADS": "16"}, "note", "OMP_NUM_THREADS=16"),
    ],
)
def test_settings_that_fight(environment, state, words):
    (fact,) = check_settings(environment, cores=4)
    assert fact.state == state
    assert words in fact.what
    assert not list(check_settings({"PYTORCH_ALLOC_CONF": "expandable_segments:True", "OMP_NUM_THREADS": "4"}, cores=4))


def test_small_shared_memory_and_full_disks(tmp_path, monkeypatch):
    usage = SimpleNamespace(total=64 << 20, free=500 << 20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage)
    found = {fact.what: fact for fact in check_machine(tmp_path, tmp_path)}
    (small,) = [fact for what, fact in found.items() if "bus error" in what]
    assert "--shm-size" in small.hint
    assert [fact.state for what, fact in found.items() if "disk of" in what] == ["problem", "problem"]


def test_packages_that_are_missing_or_too_old(monkeypatch):
    monkeypatch.setattr(packages, "requires", lambda name: {
        "torchvision": ["torch==9.0"],
    }.get(name, ["numpy>=99", "no-such-package>=1", 'no-such-geo>=1; extra == "geo"']))  # fmt: skip
    monkeypatch.setattr(packages, "metadata", lambda name: SimpleNamespace(get_all=lambda key: ["geo"]))
    facts = list(check_packages())
    words = " ".join(fact.what for fact in facts if fact.state == "problem")
    assert ">=99 is needed" in words
    assert "no-such-package is not installed" in words
    assert "is made for torch ==9.0" in words
    (extra,) = [fact for fact in facts if fact.area == "extras"]
    assert "no-such-geo" in extra.what
    assert 'pip install "segkit[geo]"' in extra.hint


def test_every_extra_says_what_it_is_for():
    extras = set(metadata("segkit").get_all("Provides-Extra") or ())
    assert extras - {"dev", "docs", "all"} <= PURPOSES.keys()


def test_a_labelme_that_does_not_start(tmp_path, monkeypatch):
    program = tmp_path / "labelme"
    program.write_text("#!/bin/sh\necho 'libEGL.so.1: cannot open shared object file' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(programs, "labelme_program", lambda: str(program))
    (problem,) = programs.check_labelme()
    assert (problem.state, "libEGL" in problem.what) == ("problem", True)


def test_what_is_in_a_folder(tmp_path, parts, dataset):
    assert next(check_folder(parts)).what == f"{parts} has 12 pictures and 12 JSON files (labelme)"
    assert "is a dataset (train and val)" in next(check_folder(dataset)).what
    (tmp_path / "runs").mkdir()
    empty, runs = check_folder(tmp_path)
    assert "no pictures" in empty.what
    assert runs.state == "note"


def test_the_block_for_a_bug_report_names_no_file_and_no_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    held = list(check_memory(Nvml([(os.getpid(), 1 << 30)], used=1 << 30)))[1]
    facts = (
        Fact("folder", "problem", "/data/secret"),
        Fact("gpu", "note", "no driver"),
        replace(held, state="note", what=f"{held.what} secret"),
        Fact("pytorch", "problem", "libtorch.so is missing in /home/ada/env"),
    )
    text = block(Checkup(facts, {"python": "3.11.7"}))
    assert "no driver" in text
    assert "missing in ~/env" in text
    assert "ada" not in text
    assert "secret" not in text


def test_a_file_of_the_user_that_is_called_torch_is_not_what_is_tried(here):
    (here / "json.py").write_text("raise SystemError('not the one')")
    found, why = probe(60.0, "import json; print(json.dumps({'fine': True}))")
    assert (found, why) == ({"fine": True}, "")


def test_a_home_folder_is_not_walked_to_its_end(parts, monkeypatch):
    monkeypatch.setattr("segkit.doctor.folder._LIST", 5)
    assert next(check_folder(parts)).what == f"{parts} has more than 5 files"
