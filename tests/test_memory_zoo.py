"""Some scripts of the zoo: leaks in the style of users, and clean look-alikes. All: ``python tests/zoo/run.py``."""

import subprocess
import sys
from pathlib import Path

import pytest

ZOO = Path(__file__).parent / "zoo"
LEAKS = [
    "running_total", "hook_store", "gan_fakes", "maskrcnn_loss_dicts", "worker_list_cache", "host_numpy_list",
    "host_concatenated", "losses_list", "register_buffer_each_step", "thread_keeps", "traceback_kept", "python_cycle",
    "queue_of_losses", "atexit_callback",
]  # fmt: skip
CLEAN = [
    "deque_50", "epoch_list", "dataset_cache", "maskrcnn_sizes", "cache_by_size", "workers_copy_on_write", "lbfgs",
    "growing_sizes",
]  # fmt: skip


def zoo(*options):
    done = subprocess.run([sys.executable, str(ZOO / "run.py"), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("kind", "names"), [("leaks", LEAKS), ("clean", CLEAN)])
def test_part_of_the_zoo(kind, names):
    said = zoo("--only", ",".join(f"{kind}/{name}" for name in names))
    assert said.count("ok   ") == len(names), said


@pytest.mark.slow
def test_the_whole_zoo():
    assert zoo()
