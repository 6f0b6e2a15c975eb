"""The meter, the tracker of live tensors, the verdict, holders, and scripts measured by the command."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

import segkit.memory
from segkit.config.memprofile import MemprofileConfig
from segkit.config.units import parse_size
from segkit.errors import ConfigError
from segkit.memory.holders import find_holders
from segkit.memory.host import malloc_in_use
from segkit.memory.meter import CounterMeter
from segkit.memory.page import render_page
from segkit.memory.recorder import Recorder
from segkit.memory.session import Session
from segkit.memory.storing import bounds_in_source, last_name, stores_in_source
from segkit.memory.tracker import LiveTensors
from segkit.memory.trend import rise
from segkit.memory.verdict import Ledger
from segkit.memprofile import memprofile

ZOO = Path(__file__).parent / "zoo"


def test_live_tensors_are_counted_to_the_byte():
    with LiveTensors() as tensors:
        a = torch.zeros(1000)
        assert tensors.allocated == 4000
        b = a * 2
        view = b[10:]
        assert tensors.allocated == 8000
        del a
        gc.collect()
        assert tensors.allocated == 4000
        del b
        assert tensors.allocated == 4000  # the view keeps the storage
        del view
        assert tensors.allocated == 0
        assert tensors.peak == 8000


def test_activations_that_only_autograd_holds_are_counted():
    layer = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 1))
    with LiveTensors() as tensors:
        out = layer(torch.rand(50, 100)).sum()
        held = tensors.allocated
        assert held > 2 * 50 * 100 * 4
        out.backward()
        del out
        gradients = sum(p.numel() * 4 for p in layer.parameters())
        assert tensors.allocated == gradients


def ledger_after(steps, keeps):
    """The ledger of a site of which ``keeps(step)`` gives the steps of birth that are alive at the end of a step."""
    ledger, alive = Ledger(), set()
    for step in range(steps):
        wanted = keeps(step)
        for birth in wanted - alive:
            ledger.add(birth, 100)
        for birth in alive - wanted:
            ledger.remove(birth, 100)
        alive = wanted
        ledger.settle()
    return ledger


@pytest.mark.parametrize(
    ("keeps", "steps", "state"),
    [
        (lambda step: set(range(step)), 20, "leak"),
        (lambda step: set(range(step)), 10, "watch"),
        (lambda step: set(range(step)), 4, "clean"),
        (lambda step: set(range(0, step, 3)), 60, "leak"),
        (lambda step: set(range(max(0, step - 30), step)), 60, "clean"),  # the last thirty
        (lambda step: set(range(min(step, 20))), 60, "clean"),  # a cache that filled
        (lambda step: set(range(step - step % 25, step)), 90, "clean"),  # emptied every 25 steps
        (lambda step: set(range(step)) if step < 30 else set(), 60, "clean"),  # a warm-up
    ],
)
def test_a_leak_is_what_survives_from_every_step(keeps, steps, state):
    assert ledger_after(steps, keeps).state(steps + 2) == state


class Box:
    def __init__(self):
        self.things = {"kept": []}


BOX = Box()


def test_a_holder_is_an_expression_for_the_very_object():
    one, other = torch.rand(3), torch.rand(3)
    BOX.things["kept"] += [one, {"deep": other}]
    local = [torch.rand(2) for _ in range(3)]
    first, second, third = find_holders([one, other, local[1]], [0, 0, 1])
    assert first is not None
    assert second is not None
    assert third is not None
    # The local variables of this test are names, too, and nearer.
    assert first.verified
    assert second.verified
    assert third.verified
    del one, other
    found = find_holders([BOX.things["kept"][1]["deep"]], [0])[0]
    assert found is not None
    assert found.expression == f"{__name__}.BOX.things['kept'][1]['deep']"
    assert eval(found.expression, {__name__: sys.modules[__name__]}) is BOX.things["kept"][1]["deep"]
    BOX.things["kept"].clear()


def test_a_closure_a_generator_and_a_thread_are_named():
    def make():
        kept = [torch.rand(2)]
        return lambda: kept

    def generate():
        mine = [torch.rand(2)]
        yield
        yield mine

    def work():
        drawn = [torch.rand(2)]
        out.append(drawn[0])
        ready.set()
        done.wait()
        assert drawn

    out: list[torch.Tensor] = []
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, name="drawing")
    thread.start()
    ready.wait()
    try:
        in_thread = find_holders([out.pop()], [0])[0]
    finally:
        done.set()
        thread.join()
    assert in_thread is not None
    assert (in_thread.expression, in_thread.kind, in_thread.verified) == ("drawn[0]", "thread", True)
    assert "work()" in in_thread.scope
    assert "drawing" in in_thread.scope

    inner, generator = make(), generate()
    next(generator)
    in_closure = find_holders([inner()[0]], [0])[0]
    in_generator = find_holders([generator.gi_frame.f_locals["mine"][0]], [0])[0]
    assert in_closure is not None
    assert in_generator is not None
    assert in_closure.expression == "inspect.getclosurevars(inner).nonlocals['kept'][0]"
    assert in_generator.expression == "generator.gi_frame.f_locals['mine'][0]"
    assert in_closure.verified
    assert in_generator.verified


def test_stores_are_found_in_the_source(tmp_path):
    script = tmp_path / "s.py"
    script.write_text(
        "class T:\n    def f(self, x):\n        self.outs.append(x)\n\n\ntotal = 0\nfor i in range(3):\n    total += i"
        "\n    window.append(i)\n    if len(window) > 5:\n        window.pop(0)\n    history['a'].append(i)\n"
    )
    files = [str(script)]
    assert [line.number for line in stores_in_source("trainer.outs", files)] == [3]
    assert [line.number for line in stores_in_source("total", files)] == [8]
    assert [line.number for line in stores_in_source("history['a']", files)] == [12]
    bound = bounds_in_source("window", files)
    assert bound is not None
    assert bound.number == 10
    assert bounds_in_source("trainer.outs", files) is None
    assert last_name("inspect.getclosurevars(hook).nonlocals['store'][3]") == "store"


def test_the_meter_reads_what_there_is():
    meter = CounterMeter(torch.device("cpu"))
    with meter.phase("forward"):
        pass
    with meter.phase("forward"):
        pass
    record = meter.step()
    assert record.allocated is None
    assert record.rss > 10**7
    assert list(record.phases) == ["forward"]
    assert meter.step().phases == {}


def test_the_host_is_asked():
    before = malloc_in_use()
    if before is None:
        pytest.skip("no mallinfo2 in this C library")
    blocks = [bytearray(200_000) for _ in range(200)]
    assert malloc_in_use() - before > 200 * 190_000
    del blocks


# ---- scripts, by the command ----------------------------------------------------------------------------------------

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
        cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, **more,
    )  # fmt: skip


def test_a_script_is_measured_as_it_is(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN.format(steps=30, body="kept.append(loss)") + "print(sys.argv[1:])\n")
    bare = subprocess.run(
        [sys.executable, "train.py", "--lr", "3"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
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
    assert sum(document["categories"].values()) == document["peak"]["categories_at"]
    assert "stored at  train.py:10" in done.stderr
    assert not document["problems"]


def test_a_package_json_and_too_few_steps(tmp_path):
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


def test_a_script_that_is_not_there(segkit, here):
    outcome = segkit("memprofile", "--", "train.py")
    assert outcome.code == 1
    assert "train.py: no such script" in outcome.err
    (here / "hello.py").write_text("print('hello')")
    outcome = segkit("memprofile", "--", "hello.py")
    assert outcome.code == 1
    assert "no training was seen" in outcome.err


def test_steps_are_marked_by_hand():
    kept = []
    with segkit.memory.watch() as watching:
        for _ in range(30):
            kept.append(torch.rand(100) * 2)
            watching.step()
        report = watching.report()
    assert report["verdict"] == "leak"
    assert report["leaks"][0]["bytes_per_step"] == 400
    assert "kept" in report["leaks"][0]["held_by"]


def test_the_tool_fails_and_the_script_goes_on(monkeypatch):
    def broken(*arguments, **more):
        raise RuntimeError("a bug")

    monkeypatch.setattr("segkit.memory.session.diagnose", broken)
    kept = []
    with segkit.memory.watch() as watching:
        for _ in range(30):
            kept.append(torch.rand(100))
            watching.step()
        report = watching.report()
    assert len(kept) == 30
    assert "a bug" in report["problems"][0]


FAST_LEAKS = ["running_total", "hook_store", "gan_fakes", "maskrcnn_loss_dicts", "worker_list_cache", "host_numpy_list"]
FAST_CLEAN = ["deque_50", "epoch_list", "dataset_cache", "maskrcnn_sizes", "cache_by_size"]


def zoo():
    sys.path.insert(0, str(ZOO))
    import run

    return run


@pytest.mark.parametrize("name", [f"leaks/{name}" for name in FAST_LEAKS] + [f"clean/{name}" for name in FAST_CLEAN])
def test_part_of_the_zoo(name):
    result = zoo().judge(ZOO / f"{name}.py", 0)
    assert result.found, (result.verdict, result.report.get("leaks"))
    assert False not in (result.made, result.stored, result.held), result.report["leaks"]


@pytest.mark.slow
def test_the_whole_zoo():
    done = subprocess.run([sys.executable, str(ZOO / "run.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_profile_of_a_training(dataset, tmp_path):
    (tmp_path / "c.toml").write_text(
        f'dataset = "{dataset}"\nmodel = "unet"\nweights = "none"\nsize = 64\nbatch = 2\ndevice = "cpu"\n'
    )
    summary = memprofile(MemprofileConfig(target=[str(tmp_path / "c.toml")], steps=26, out=tmp_path / "m"))
    document = json.loads((tmp_path / "m/memory.json").read_text())
    assert document["verdict"] == "clean", document["leaks"]
    assert summary.code == 0
    assert document["steps"] == 26
    assert {"load", "transfer", "forward", "backward", "step", "eval", "save"} <= document["phases"].keys()
    assert document["peak"]["allocated"] == max(p["allocated"] or 0 for p in document["phases"].values())
    assert sum(document["categories"].values()) == document["peak"]["categories_at"]
    assert document["categories"]["parameters"] > 10**6
    assert document["phases"]["eval"]["seconds"] is None or document["phases"]["eval"]["seconds"] > 0
    page = summary.page_path.read_text()
    assert page.count("<svg") == 1
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "<script" not in page


def test_a_profiled_run_computes_what_the_bare_run_computes(dataset, tmp_path):
    from test_train import config, losses

    from segkit.train import train

    bare = train(config(dataset, tmp_path, model="maskrcnn")).run
    session = Session()
    session.start(phases=False)
    try:
        metered = train(config(dataset, tmp_path, model="maskrcnn"), make_meter=lambda d: Recorder(d, session)).run
    finally:
        session.finish()
    assert losses(bare) == losses(metered)
    assert not session.failures


def test_the_page_escapes_what_it_is_given():
    kept = []
    with segkit.memory.watch() as watching:
        for _ in range(30):
            kept.append(torch.rand(100))
            watching.step()
        document = watching.report()
    document["leaks"][0]["held_by"] = "<b>evil</b>"
    document["model"] = "<x>"
    page = render_page(document)
    assert "<b>evil" not in page
    assert "&lt;b&gt;evil" in page
    assert "<x>" not in page


def test_sizes_are_read():
    assert [parse_size(text) for text in ("6GiB", "800MB", "1.5 GB", "12")] == [6 * 2**30, 800 * 10**6, 15 * 10**8, 12]
    with pytest.raises(ValueError, match="not a size"):
        parse_size("much")
    with pytest.raises(ConfigError, match="which script"):
        _ = MemprofileConfig(target=["--"]).script


def test_a_rise_is_suspected_only_where_every_part_is_higher():
    steady = [10**6 + 20_000 * step + (step % 7) * 1000 for step in range(400)]
    assert rise(steady) == pytest.approx(20_000, rel=0.02)
    assert rise(steady[:150]) is None  # too few
    assert rise([min(each, 5 * 10**6) for each in steady]) is None  # it filled up
    assert rise([10**6 + 300_000 * (step % 40) for step in range(400)]) is None  # a saw
    assert rise([10**6 + 100 * step for step in range(400)]) is None  # too little to matter


def test_recordings_are_read_again(segkit, here):
    import pickle

    def block(size, state, line):
        frames = [{"filename": str(here / "train.py"), "line": line, "name": "f"}]
        return {"size": size, "requested_size": size - 100, "state": state, "frames": frames}

    segment = {"total_size": 10_000, "blocks": [block(4_000, "active_allocated", 3), block(6_000, "inactive", 0)]}
    (here / "snapshot.pickle").write_bytes(pickle.dumps({"segments": [segment], "device_traces": []}))
    outcome = segkit("memprofile", "--explain", "snapshot.pickle", "--json")
    document = json.loads(outcome.out)
    assert document["top"]["lines"] == {f"{here}/train.py:3": 4_000}
    assert sum(document["categories"].values()) == document["peak"]["reserved"]
    assert document["growth"][0]["name"] == "fragmentation"
    again = segkit("memprofile", "--explain", "memprofile/memory.json", "--json")
    assert json.loads(again.out) == document
    (here / "evil.pickle").write_bytes(pickle.dumps(os.getcwd))
    outcome = segkit("memprofile", "--explain", "evil.pickle")
    assert outcome.code == 1
    assert "it names" in outcome.err
