"""Signals end a training with what it has learnt, whoever they are sent to and whatever it does at that moment."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from importlib import import_module

import psutil
import pytest
import torch
from training import lines

from segkit.runtime.signals import imports_left_whole

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)
MARK = "SEGKIT_TEST_MARK"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals to processes")


def test_a_module_whose_import_is_interrupted_is_imported_to_its_end(tmp_path, monkeypatch):
    """A library in C cannot be imported again after half an import: in a notebook all later calls would fail."""
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.2)\nwhole = True\n"
    (tmp_path / "interrupted_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    @imports_left_whole()
    def interrupted(do):
        do()
        time.sleep(60)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for do in (lambda: import_module("interrupted_module"), lambda: os.kill(os.getpid(), signal.SIGINT)):
            with pytest.raises(KeyboardInterrupt):
                interrupted(do)
        assert sys.modules.pop("interrupted_module").whole
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def answer_signals():
    """In a child: what nohup, or a shell for commands in the background, lets this process ignore."""
    for number in (INT, HUP):
        signal.signal(number, signal.SIG_DFL)


class Run:
    """A training in a session of its own, whose processes can be found."""

    def __init__(self, dataset, out, *more, ranks=1, workers=0, program=("-m", "segkit"), **options):
        self.mark, self.run, self.ranks = uuid.uuid4().hex, out / "r", ranks
        words = [
            "train", dataset, "--model", "unet", "--weights", "none", "--size", 64, "--batch", 2, "--device", "cpu",
            "--steps", 100000, "--out", out, "--name", "r", "--workers", workers, *more,
        ]  # fmt: skip
        words += ["--ranks", ranks] if ranks > 1 and program == ("-m", "segkit") else []
        environment = os.environ | {MARK: self.mark, "OMP_NUM_THREADS": "1"}
        options.setdefault("preexec_fn", answer_signals)
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, words)], stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=environment, **options,
        )  # fmt: skip

    def processes(self):
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait_for(self, condition, what):
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and self.process.poll() is None:
            if condition():
                return
            time.sleep(0.005)
        self.process.kill()
        raise AssertionError(f"{what} did not come: {self.process.communicate()[1]}")

    def steps(self):
        return len(lines(self.run)) if (self.run / "metrics.jsonl").is_file() else 0

    def wait_until_in(self, moment):
        if moment == "step":
            self.wait_for(lambda: self.steps() >= 2, "the second step")
        elif moment == "evaluation":  # the first epoch has one step; scoring what follows it takes long
            self.wait_for(lambda: self.steps() >= 1, "the first step")
            time.sleep(0.3)
        else:
            self.wait_for((self.run / ".last.pt.writing").exists, "a checkpoint")

    def signal(self, number, to):
        if to == "group":
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def ended(self, timeout=120):
        """The exit code and what it printed; nothing of it is left."""
        try:
            _, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            left = [(each.pid, each.cmdline()[-3:]) for each in self.processes()]
            for each in self.processes():
                each.kill()
            raise AssertionError(f"it hangs: {left}") from None
        deadline = time.monotonic() + 5  # a killed parent's children end a moment later
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
        assert "Traceback" not in err, err
        assert "Exception" not in err, err
        return self.process.returncode, err

    def saved_all(self, code, err):
        assert code == 130, err
        assert f"go on with: segkit train --resume {self.run}" in err
        done = torch.load(self.run / "last.pt", weights_only=True)["step"]
        assert done == self.steps()
        assert [path.name for path in self.run.iterdir() if path.name.startswith(".")] == []
        return done


@pytest.fixture(scope="module")
def short_epochs(tmp_path_factory):
    """Two images for training and many for an evaluation that takes seconds."""
    from make_pictures import make_pictures

    from segkit.config.convert import ConvertConfig
    from segkit.conversion.convert import convert

    folder = tmp_path_factory.mktemp("data")
    make_pictures(folder / "parts", count=40, size=256)
    convert(ConvertConfig(src=str(folder / "parts"), out=folder / "d", val=0.9))
    train = json.loads((folder / "d/train.json").read_text())
    train["images"] = train["images"][:2]
    kept = {image["id"] for image in train["images"]}
    train["annotations"] = [each for each in train["annotations"] if each["image_id"] in kept]
    (folder / "d/train.json").write_text(json.dumps(train))
    return folder / "d"


def started(moment, dataset, short_epochs, out, **more):
    often = ["--eval-every", 1] if moment != "step" else ["--eval-every", 100000]
    return Run(short_epochs if moment == "evaluation" else dataset, out, *often, **more)


QUICK = [
    (TERM, 1, 2, "group", "step"),
    (INT, 2, 1, "group", "evaluation"),
    (HUP, 1, 0, "main", "save"),
]
ALL = list(itertools.product([INT, TERM], [1, 2], [0, 2], ["main", "group"], ["step", "evaluation", "save"]))


@pytest.mark.parametrize(("number", "ranks", "workers", "to", "moment"), QUICK)
def test_a_signal_saves_and_ends_every_process(dataset, short_epochs, tmp_path, number, ranks, workers, to, moment):
    run = started(moment, dataset, short_epochs, tmp_path, ranks=ranks, workers=workers)
    run.wait_until_in(moment)
    run.signal(number, to)
    run.saved_all(*run.ended())
    assert lines(run.run, "eval") == [] or moment != "evaluation"  # it did not wait for its end


@pytest.mark.slow
@pytest.mark.parametrize(("number", "ranks", "workers", "to", "moment"), [*ALL, (HUP, 2, 2, "group", "step")])
def test_a_signal_saves_and_the_run_goes_on(dataset, short_epochs, tmp_path, number, ranks, workers, to, moment):
    run = started(moment, dataset, short_epochs, tmp_path, ranks=ranks, workers=workers)
    run.wait_until_in(moment)
    run.signal(number, to)
    done = run.saved_all(*run.ended())
    again = [sys.executable, "-m", "segkit", "train", "--resume", run.run, "--steps", done + 1, "--eval-every", 100000]
    again = subprocess.run([str(word) for word in again[:-2]], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert torch.load(run.run / "last.pt", weights_only=True)["step"] == done + 1


@pytest.mark.slow
def test_a_signal_that_comes_by_two_ways_counts_once(dataset, tmp_path):
    """``timeout`` signals its child, then the group of its child."""
    run = Run(dataset, tmp_path)
    run.wait_until_in("step")
    for _ in range(5):
        run.signal(TERM, "main")
        run.signal(TERM, "group")
    run.saved_all(*run.ended())


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_second_signal_does_not_wait_for_the_step(dataset, tmp_path, ranks):
    run = Run(dataset, tmp_path, "--size", 768, "--batch", 16, "--backbone", "resnet50", ranks=ranks, workers=1)
    run.wait_for(lambda: (tmp_path / "r/config.toml").is_file(), "the run")
    time.sleep(20)  # in the first step, which takes minutes
    run.signal(INT, "group")
    time.sleep(1.5)
    assert run.process.poll() is None
    began = time.monotonic()
    run.signal(INT, "group")
    code, _ = run.ended(timeout=60)
    assert code == 130
    assert time.monotonic() - began < 30
    assert not (tmp_path / "r/last.pt").exists()


def test_ranks_and_workers_die_with_a_killed_launcher(dataset, tmp_path):
    run = Run(dataset, tmp_path, ranks=2, workers=1)
    run.wait_until_in("step")
    assert len(run.processes()) >= 5
    run.process.kill()
    code, _ = run.ended(timeout=20)
    assert code == -signal.SIGKILL


@pytest.mark.parametrize("number", [pytest.param(INT, marks=pytest.mark.slow), TERM])
def test_under_torchrun_a_signal_to_the_group_saves(dataset, tmp_path, number):
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "segkit")
    run = Run(dataset, tmp_path, ranks=2, workers=1, program=torchrun)
    run.wait_until_in("step")
    os.killpg(run.process.pid, number)
    _, err = run.process.communicate(timeout=120)  # torchrun itself ends with a traceback
    assert f"go on with: segkit train --resume {run.run}" in err
    assert torch.load(run.run / "last.pt", weights_only=True)["step"] == run.steps()
    assert run.processes() == []
