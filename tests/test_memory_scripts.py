"""``memprofile -- SCRIPT`` on whole scripts, as users start them."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[1])
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

TRAIN = """
import sys, torch
torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
kept = []
for step in range({steps}):
    loss = model(torch.rand(4, 8)).square().mean()
    opt.zero_grad(); loss.backward(); opt.step()
    {body}
    print(step, loss.item().hex())
"""


def command(*arguments, cwd, **more):
    return subprocess.run(
        [sys.executable, "-m", "segkit", "memprofile", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False, env=ENVIRONMENT, **more,
    )  # fmt: skip


def test_a_script_is_measured_unchanged(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN.format(steps=30, body="kept.append(loss)") + "print(sys.argv[1:])\n")
    bare = subprocess.run(
        [sys.executable, "train.py", "--lr", "3"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    done = command("--out", "out", "--", "train.py", "--lr", "3", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout == bare.stdout  # the same losses to the bit, the same arguments
    document = json.loads((tmp_path / "out/memory.json").read_text())
    (leak,) = document["leaks"]
    assert leak["held_by"].startswith("kept[")
    assert leak["verified"]
    assert leak["allocated_at"] == f"{tmp_path}/train.py:8"
    assert leak["stored_at"] == f"{tmp_path}/train.py:10"
    assert "item()" in leak["fix"]
    assert document["steps"] == 30
    assert document["model"] == "Linear"
    assert sum(document["categories"].values()) == document["peak"]["categories_at"]
    assert "stored at  train.py:10" in done.stderr
    assert not document["problems"]


def test_a_module_with_json_output_and_too_few_steps(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text("")
    (tmp_path / "pkg/__main__.py").write_text(TRAIN.format(steps=10, body="pass"))
    done = command("--json", "--", "python", "-m", "pkg", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit(7)", 7), ("raise ValueError('no')", 1), ("import os; os.abort()", 134)]
)
def test_a_script_that_fails_keeps_its_exit_code(tmp_path, ending, code):
    (tmp_path / "train.py").write_text(TRAIN.format(steps=26, body="kept.append(loss)") + ending + "\n")
    done = command("--", "train.py", cwd=tmp_path)
    assert done.returncode == code
    assert "leak 1" in done.stderr


def test_a_signal_reaches_the_script(tmp_path):
    text = TRAIN.format(steps=10**6, body="pass").replace("import sys, torch", (
        "import sys, torch, signal\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(9))"))  # fmt: skip
    (tmp_path / "train.py").write_text(text)
    with subprocess.Popen(
        [sys.executable, "-m", "segkit", "memprofile", "--", "train.py"], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(60) == 9


def test_a_missing_script(segkit, here):
    outcome = segkit("memprofile", "--", "train.py")
    assert outcome.code == 1
    assert "train.py: no such script" in outcome.err
    (here / "hello.py").write_text("print('hello')")
    outcome = segkit("memprofile", "--", "hello.py")
    assert outcome.code == 1
    assert "no training was seen" in outcome.err


def leaking(tmp_path, steps=30, body="kept.append(loss)", end=""):
    path = tmp_path / "train.py"
    path.write_text(TRAIN.format(steps=steps, body=body) + end)
    return path


def test_step_every_sets_the_length_of_steps(tmp_path):
    leaking(tmp_path, steps=60)
    done = command("--step-every", "2", "--out", "out", "--", "train.py", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    document = json.loads((tmp_path / "out/memory.json").read_text())
    assert document["steps"] == 30
    (leak,) = document["leaks"]
    assert leak["held_by"].startswith("kept[")
    assert leak["bytes_per_step"] >= 8  # two losses a step


def test_a_script_is_stopped_after_the_given_steps(tmp_path):
    leaking(tmp_path, steps=10**6, body="pass")
    done = command("--steps", "26", "--out", "out", "--", "train.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) in (25, 26)
    assert json.loads((tmp_path / "out/memory.json").read_text())["steps"] == 26


def test_ranks_give_one_report(tmp_path):
    """Two processes of torchrun: one leaks, and the report names its rank."""
    (tmp_path / "train.py").write_text(
        "import os, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 1))\n"
        "opt = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "kept = []\n"
        "for step in range(30):\n"
        "    out = model(torch.rand(4, 8))\n"
        "    opt.zero_grad(); out.square().mean().backward(); opt.step()\n"
        "    if os.environ['RANK'] == '1':\n"
        "        kept.append(torch.rand(1000))\n"
        "dist.barrier()  # gloo aborts a rank whose peer has gone\n"
        "dist.destroy_process_group()\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29617"]
    done = command("--out", "out", "--", *torchrun, "train.py", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    document = json.loads((tmp_path / "out/memory.json").read_text())
    assert document["processes"] == 2
    (leak,) = document["leaks"]
    assert leak["holder"] == "kept"
    assert leak["bytes_per_step"] == 4000
    assert leak["allocated_at"] == f"{tmp_path}/train.py:10"


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_training_in_a_child_is_measured(tmp_path, start):
    """The process that is started only starts another one, which trains and ends with a code of its own."""
    (tmp_path / "train.py").write_text(
        "import multiprocessing, sys\nimport torch\n"
        "def train():\n"
        "    model = torch.nn.Linear(8, 1)\n"
        "    opt = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "    kept = []\n"
        "    for step in range(30):\n"
        "        out = model(torch.rand(100, 8))\n"
        "        opt.zero_grad(); out.square().mean().backward(); opt.step()\n"
        "        kept.append(out.detach())\n"
        "    sys.exit(3)\n"
        "if __name__ == '__main__':\n"
        f"    child = multiprocessing.get_context('{start}').Process(target=train)\n"
        "    child.start(); child.join(); sys.exit(child.exitcode)\n"
    )  # fmt: skip
    done = command("--out", "out", "--", "train.py", cwd=tmp_path)
    assert done.returncode == 3
    assert "the script itself ended with exit code 3" in done.stderr
    document = json.loads((tmp_path / "out/memory.json").read_text())
    assert document["script_exit"] == 3
    (leak,) = document["leaks"]
    assert leak["holder"] == "kept"
    assert leak["stored_at"] == f"{tmp_path}/train.py:10"
    assert document["steps"] >= 29  # in a spawned child watching begins at the first step of an optimiser


def on_a_terminal(arguments, cwd, until, then):
    """Run the command on a new terminal; when it shows ``until``, call ``then``. Return exit code and output."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests themselves run in the background
        os.chdir(cwd)
        os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": ROOT, "TERM": "xterm"}
        os.execv(sys.executable, [sys.executable, "-m", "segkit", "memprofile", *arguments])
    screen, done, deadline = b"", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        if ready:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            screen += part
        if not done and until in screen:
            done = True
            then(terminal)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode(errors="replace"))


def test_a_terminal_shows_a_status_line_and_ctrl_c_ends_the_script(tmp_path):
    leaking(tmp_path, steps=10**6, body="kept.append(loss); import time; time.sleep(0.01)")
    code, screen = on_a_terminal(
        ["--out", "out", "--", "train.py"], tmp_path, b"leak: kept", lambda terminal: os.write(terminal, b"\x03")
    )
    assert "segkit step" in screen
    assert "KeyboardInterrupt" in screen  # the script's own
    assert code == 130, screen[-2000:]  # and its own exit code: ended by signal 2
    document = json.loads((tmp_path / "out/memory.json").read_text())
    assert document["verdict"] == "leak"
    assert document["leaks"][0]["held_by"].startswith("kept[")
