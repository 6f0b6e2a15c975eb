"""Kills at random moments: what is written is whole or absent, the next run goes on, and nothing is left behind."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest
import torch
from test_signals import MARK
from training import losses, same_weights

from segkit.inference.outputs import read_journal

KILLS = int(os.environ.get("SEGKIT_KILLS", "100"))  # in all, over the kinds below

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")]


class Killer:
    """Runs a command again and again, and kills it at random moments."""

    def __init__(self, here, seed):
        self.dice, self.kills, self.starts, self.seconds = random.Random(seed), 0, 0, 0.0
        self.temporary = here / "tmp"
        self.temporary.mkdir()

    def start(self, arguments):
        mark = uuid.uuid4().hex
        environment = os.environ | {MARK: mark, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary)}
        process = subprocess.Popen(
            [sys.executable, "-m", "segkit", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        return process, mark

    def whole(self, arguments, begun=lambda: True):
        """Let it run to its end; how long that takes from the moment on that ``begun`` says is when kills may come."""
        process, mark = self.start(arguments)
        wait_for(begun, process)
        began = time.monotonic()
        _, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        self.seconds = max(self.seconds, time.monotonic() - began)
        self.no_process(mark)
        return err

    def kill(self, arguments, begun=lambda: True):
        """Start, and kill the process, or all of its group; returns whether it was killed before its end."""
        process, mark = self.start(arguments)
        self.starts += 1
        wait_for(begun, process)
        time.sleep(self.dice.uniform(0, self.seconds))
        running = process.poll() is None
        if self.dice.random() < 0.3:
            os.killpg(process.pid, signal.SIGKILL) if running else None
        else:
            process.kill()
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        self.kills += running
        self.no_process(mark)
        return running

    def report(self):
        """Shown by ``pytest -s``."""
        sys.stderr.write(f" {self.kills} kills in {self.starts} starts ")

    def no_process(self, mark):
        deadline = time.monotonic() + 10
        while (left := [p.pid for p in psutil.process_iter() if _is_of(p, mark)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []

    def no_litter(self, *folders):
        hidden = [path for folder in folders for path in folder.rglob(".*") if path.parent != self.temporary]
        caches = ("torchinductor_", ".ses")  # PyTorch and ONNX Runtime keep them between runs
        assert hidden + [path for path in self.temporary.iterdir() if not path.name.startswith(caches)] == []


def wait_for(begun, process):
    deadline = time.monotonic() + 300
    while not begun() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def _is_of(process, mark):
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def killer(here, request):
    return Killer(here, request.node.name)


def times(share):
    return max(1, round(KILLS * share / 100))


@pytest.mark.parametrize(
    "options", [["--to", "coco"], ["--to", "yolo", "--images", "copy"], ["--force"], ["--dry-run"]]
)
def test_conversions(killer, parts, here, options):
    many = here / "in"
    many.mkdir()
    for number in range(30):
        for path in parts.glob("*.json"):
            text = path.read_text().replace('"imagePath": "', f'"imagePath": "{parts}/')
            (many / f"{number}-{path.name}").write_text(text)
    out = here / "d"
    command = ["convert", many, "--out", out, "--val", 0.2, "--workers", 3, *options]
    killer.whole(command)
    reference = content_of(out) if out.exists() else None
    while killer.kills < times(7):
        if "--force" not in options:
            shutil.rmtree(out, ignore_errors=True)
        killer.kill(command)
        assert (content_of(out) if out.exists() else None) in (None, reference)
    shutil.rmtree(out, ignore_errors=True)
    killer.whole(command)
    killer.no_litter(here)
    killer.report()


TRAIN = [
    "--model", "unet", "--weights", "none", "--size", 64, "--batch", 2, "--device", "cpu", "--precision", "fp32",
    "--steps", 12, "--norm", "batch",
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "share"),
    [(["--eval-every", 1000], 8), (["--workers", 2, "--eval-every", 1], 16), (["--ranks", 2, "--workers", 1], 12),
     (["--eval-every", 1], 14)],
    ids=["alone", "workers", "ranks", "evaluations"],
)  # fmt: skip
def test_trainings(killer, dataset, here, options, share):
    command = ["train", dataset, *TRAIN, *options]
    killer.whole([*command, "--out", here / "whole", "--name", "r"], (here / "whole/r/metrics.jsonl").exists)
    run = here / "killed/r"
    fresh = [*command, "--out", here / "killed", "--name", "r"]
    while killer.kills < times(share):
        resumes = run.exists()
        lines = run / "metrics.jsonl"
        before = lines.stat().st_mtime_ns if resumes and lines.exists() else 0
        killed = killer.kill(
            ["train", "--resume", run] if resumes else fresh,
            lambda lines=lines, before=before: lines.exists() and lines.stat().st_mtime_ns > before,
        )
        for name in ("last.pt", "last.previous.pt", "best.pt"):
            if (run / name).exists():
                torch.load(run / name, weights_only=True)
        if not killed:  # it was faster than the dice: another one
            shutil.rmtree(run)
    killer.whole(["train", "--resume", run] if run.exists() else fresh)
    assert losses(run) == losses(here / "whole/r")
    assert same_weights(here / "whole/r", run)
    killer.no_litter(here)
    killer.report()


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    from training import config

    from segkit.training.train import train

    return train(config(dataset, tmp_path_factory.mktemp("model"), model="unet", steps=1)).run


def test_predictions(killer, parts, model, here):
    formats = ["--format", "coco,csv,overlay,labelme,idmask"]
    command = ["predict", parts, "--model", model, "--device", "cpu", "--batch", 1, *formats]
    killer.whole([*command, "--out", here / "whole"])
    out = here / "killed"
    while killer.kills < times(14):
        if not killer.kill([*command, "--out", out, "--resume"]):
            shutil.rmtree(out)
        for name in ("results.json", "images.json", "instances.csv"):
            if (out / name).exists():
                assert (out / name).read_bytes() == (here / "whole" / name).read_bytes()
        assert all(done.picture.path.is_file() for done in read_journal(out))
    killer.whole([*command, "--out", out, "--resume"])
    assert content_of(out).keys() == content_of(here / "whole").keys()
    for name in ("results.json", "images.json", "instances.csv"):
        assert (out / name).read_bytes() == (here / "whole" / name).read_bytes()
    killer.no_litter(here)
    killer.report()


def test_exports(killer, model, dataset, here):
    command = ["export", model, "--data", dataset, "--out", here / "model.onnx"]
    killer.whole(command)
    reference = (here / "model.onnx").read_bytes()
    while killer.kills < times(8):
        (here / "model.onnx").unlink(missing_ok=True)
        killer.kill(command)
        if (here / "model.onnx").exists():
            assert (here / "model.onnx").read_bytes() == reference
    killer.whole(command)
    killer.no_litter(here)
    killer.report()
