"""Processes that load, read or predict die with their parent; a training goes on without those that die."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from test_signals import MARK, Run, answer_signals
from training import config, losses, same_weights

from segkit.errors import ConfigError, DeviceError
from segkit.loading.loader import load_batches
from segkit.loading.sampler import Key
from segkit.runtime.processes import worker_context
from segkit.training.train import train

linux = pytest.mark.skipif(sys.platform != "linux", reason="starts processes by fork")


def processes_left():
    """The processes of this one that still run, but for the one that multiprocessing keeps for itself."""
    children = psutil.Process().children()
    return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]


class Loading:
    """Loads numbers, and does what a test says."""

    def __init__(self, act=lambda number, forked: None):
        self.act, self.parent = act, os.getpid()

    def __getitem__(self, key):
        self.act(key.image, os.getpid() != self.parent)
        from segkit.data.records import Image
        from segkit.loading.whole import Sample

        return Sample(
            torch.full((3, 2, 2), key.image), {"boxes": torch.ones(2, 4), "seed": key.image}, Image(0, "a", 2, 2)
        )

    def file_name(self, key):
        return f"{key.image}.jpg"


def loaded(pictures, workers, warnings, count=9):
    keys = [[Key(0, number)] for number in range(count)]
    return [batch[0] for batch in load_batches(pictures, keys, workers=workers, warn=warnings.append)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_from_any_number_of_processes(workers):
    warnings = []
    for number, sample in enumerate(loaded(Loading(), workers, warnings)):
        assert (sample.image == number).all()
        assert sample.target["seed"] == number
        sample.image.add_(1)  # it is nobody else's memory
    assert number == 8
    assert warnings == []
    assert not processes_left()


def _load_in_daemon(answers):
    warnings = []
    numbers = [sample.target["seed"] for sample in loaded(Loading(), 2, warnings)]
    try:
        worker_context(fork=False)
    except ConfigError as error:
        warnings.append(error.message)
    answers.send((numbers, warnings))


@linux
def test_a_process_that_may_start_no_others_loads_alone_and_refuses_what_needs_them():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_load_in_daemon, args=(theirs,), daemon=True)
    process.start()
    assert ours.poll(60)
    numbers, (warning, refused) = ours.recv()
    process.join()
    assert numbers == list(range(9))
    assert "it loads the images itself" in warning
    assert "may start none" in refused


def kill_at(*numbers, by=signal.SIGKILL):
    def act(number, forked):
        if forked and number in numbers:
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # pytest would print a long report
            os.kill(os.getpid(), by)

    return act


@linux
def test_what_a_killed_process_has_not_loaded_the_others_load():
    warnings = []
    samples = loaded(Loading(kill_at(4)), 2, warnings)
    assert [int(sample.image[0, 0, 0]) for sample in samples] == list(range(9))
    assert len(warnings) == 2  # the one that loads it next is killed, too; then this process loads it
    assert "a process that loads images was killed by signal 9 (SIGKILL); going on with 1 of them" in warnings[0]
    assert "going on without them" in warnings[1]
    assert "--workers 0" in warnings[0]


@linux
def test_a_process_without_memory_leaves_the_work_to_fewer():
    def act(number, forked):
        if forked and number == 3:
            raise MemoryError

    warnings = []
    assert len(loaded(Loading(act), 2, warnings)) == 9
    assert "a process that loads images ran out of memory; going on with 1 of them" in warnings[0]


def test_without_memory_for_an_image_there_is_an_error_that_says_so():
    def act(number, forked):
        if number == 3:
            raise MemoryError

    samples = loaded(Loading(act), 0, [])
    assert isinstance(samples[3], DeviceError)
    assert samples[3].message == "out of memory while an image was loaded"
    assert len(samples) == 9


@linux
def test_an_image_that_crashes_every_process_is_an_error_with_its_name():
    warnings = []
    samples = loaded(Loading(kill_at(4, by=signal.SIGSEGV)), 2, warnings)
    assert "4.jpg: a process that loads it was killed by signal 11 (SIGSEGV)" in samples[4].message
    assert [int(sample.image[0, 0, 0]) for sample in samples[:4] + samples[5:]] == [0, 1, 2, 3, 5, 6, 7, 8]


@linux
def test_a_bug_in_a_process_keeps_its_traceback():
    def act(number, forked):
        if number == 2:
            raise KeyError("some bug")

    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*some bug"):
        loaded(Loading(act), 1, [])
    assert not processes_left()


@linux
def test_too_few_files_for_the_processes_leaves_fewer():
    warnings = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 9, before[1]))
    try:
        assert len(loaded(Loading(), 12, warnings)) == 9
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "a process that loads images cannot be started: Too many open files" in warnings[0]
    assert "ulimit -n" in warnings[0]
    assert not processes_left()


def run_with_killed_processes(dataset, out, steps):
    run = Run(
        dataset, out, "--steps", steps, "--schedule", "constant", "--warmup", 0, "--precision", "fp32", "--augment",
        "light", "--eval-every", 1000, "--backbone", "resnet18", workers=2,
    )  # fmt: skip
    run.wait_for(lambda: run.steps() >= 1, "the first step")
    for worker in psutil.Process(run.process.pid).children():
        worker.kill()
    code, err = run.ended()
    assert code == 0, err
    assert err.count("warning: a process that loads images was killed by signal 9 (SIGKILL)") in (1, 2)
    assert len(losses(run.run)) == steps
    return run.run


@linux
def test_a_run_goes_on_when_its_processes_are_killed(dataset, tmp_path):
    run_with_killed_processes(dataset, tmp_path, 12)


@linux
@pytest.mark.slow
def test_a_run_whose_processes_are_killed_has_the_same_result(dataset, tmp_path):
    whole = train(config(dataset, tmp_path, model="unet", steps=12, schedule="constant", warmup=0, name="whole")).run
    run = run_with_killed_processes(dataset, tmp_path, 12)
    assert losses(run) == losses(whole)
    assert same_weights(whole, run)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals to processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_processes_of_a_conversion_that_is_ended_end_with_it(parts, tmp_path, number):
    many = tmp_path / "many"
    many.mkdir()
    for copy in range(40):
        for file in parts.glob("*.json"):
            text = file.read_text().replace('"imagePath": "', f'"imagePath": "{parts}/')
            (many / f"{copy}-{file.name}").write_text(text)
    run = Run.__new__(Run)
    run.mark = f"convert{number}-{os.getpid()}"
    run.process = subprocess.Popen(
        [sys.executable, "-m", "segkit", "convert", str(many), "--out", str(tmp_path / "d"), "--workers", "3"],
        stderr=subprocess.PIPE, text=True, env=os.environ | {MARK: run.mark}, start_new_session=True,
        preexec_fn=answer_signals,
    )  # fmt: skip
    run.wait_for(lambda: len(run.processes()) >= 4, "the processes")
    if number == signal.SIGKILL:
        run.process.kill()
    else:
        os.killpg(run.process.pid, number)
    code, err = run.ended(timeout=20)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert not (tmp_path / "d").exists()
    if number != signal.SIGKILL:
        assert err.endswith("error: interrupted\n")
        assert [path.name for path in tmp_path.iterdir()] == ["many"]


def number_or_death(number):
    if number in (3, 17) and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_work_at_which_every_process_dies_is_given_up_and_the_rest_is_done():
    from segkit.conversion.parallel import map_in_order

    warnings = []
    results = map_in_order(number_or_death, range(40), workers=4, lost=lambda number: -number, warn=warnings.append)
    assert list(results) == [-number if number in (3, 17) else number for number in range(40)]
    assert [message.split("; ")[1] for message in warnings] == [
        "going on with 2 (--workers)",
        "going on with 1 (--workers)",
    ]
    assert not processes_left()


class Slow:
    def __getitem__(self, key):
        time.sleep(0.5)
        return key


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_takes_long_to_load_shows_that_it_lives(monkeypatch, workers):
    monkeypatch.setattr("segkit.loading.worker_pool._WAIT_SECONDS", 0.05)
    said = []
    assert list(load_batches(Slow(), [[1, 2]], workers=workers, alive=said.append)) == [[1, 2]]
    expected = "waiting for a batch of 2 images" if workers else "1 of the 2 images of a batch are loaded"
    assert expected in said
