"""The meter, the tracker of live tensors, and the verdict."""

import gc
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from segkit.config.memprofile import MemprofileConfig
from segkit.memory.host import malloc_in_use
from segkit.memory.meter import CounterMeter
from segkit.memory.page import render_page
from segkit.memory.recorder import Recorder
from segkit.memory.tracker import LiveTensors, Site
from segkit.memory.verdict import judge
from segkit.memprofile import memprofile


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


def run(body, steps=30):
    """A little training with ``body(store, step, loss, out)`` in every step; returns the verdict."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
    store = SimpleNamespace(kept=[], cache={})
    with LiveTensors() as tensors:
        optimizer = torch.optim.AdamW(model.parameters())
        recorder = Recorder(torch.device("cpu"), tensors)
        for step in range(steps):
            side = 16 + 4 * (step % 5)
            with recorder.phase("forward"):
                out = model(torch.rand(2, 3, side, side))
                loss = out.square().mean()
            body(store, step, loss, out)
            with recorder.phase("backward"):
                loss.backward()
            with recorder.phase("step"):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            del out, loss
            recorder.step()
        return judge(recorder.survivors(), steps)


LEAKS = {
    "outputs in a list": lambda s, step, loss, out: s.kept.append(out.detach()),
    "live graphs": lambda s, step, loss, out: s.kept.append((out * out).sum()),
    "a cache keyed by the step": lambda s, step, loss, out: s.cache.update({step: out.detach() * 2}),
}
CLEAN = {
    "nothing": lambda s, step, loss, out: None,
    "floats": lambda s, step, loss, out: s.kept.append(loss.item()),
    "the last output": lambda s, step, loss, out: s.cache.update(last=out.detach()),
    "a cache keyed by the size": lambda s, step, loss, out: s.cache.setdefault(out.shape, out.detach()),
    "a ring of four": lambda s, step, loss, out: s.cache.update({step % 4: out.detach()}),
}


@pytest.mark.parametrize("name", LEAKS)
def test_leaks_are_found_and_their_line_is_named(name):
    verdict, suspects = run(LEAKS[name])
    assert verdict == "leak"
    assert all(__file__ in suspect.site.line for suspect in suspects)
    assert suspects[0].bytes_per_step > 1000


@pytest.mark.parametrize("name", CLEAN)
def test_what_only_looks_like_a_leak_is_clean(name):
    assert run(CLEAN[name]) == ("clean", [])


def test_too_few_steps_are_never_clean():
    assert run(CLEAN["nothing"], steps=10)[0] == "inconclusive"
    assert run(LEAKS["outputs in a list"], steps=14)[0] == "watch"


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


def test_a_profile_of_a_training(dataset, tmp_path):
    (tmp_path / "c.toml").write_text(
        f'dataset = "{dataset}"\nmodel = "unet"\nweights = "none"\nsize = 64\nbatch = 2\ndevice = "cpu"\n'
    )
    summary = memprofile(MemprofileConfig(run=tmp_path / "c.toml", steps=26, out=tmp_path / "m"))
    assert summary.report.verdict == "clean"
    document = json.loads(summary.json_path.read_text())
    assert document["steps"] == 26
    assert {"load", "transfer", "forward", "backward", "step", "eval", "save"} == document["phases"].keys()
    assert document["peak"]["allocated"] == max(p["allocated"] for p in document["phases"].values())
    assert document["peak"]["allocated"] >= max(document["series"]["peak"])
    assert document["phases"]["eval"]["seconds"] > 0
    assert document["phases"]["backward"]["allocated"] >= document["series"]["allocated"][-1]
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
    with LiveTensors() as tensors:
        metered = train(config(dataset, tmp_path, model="maskrcnn"), make_meter=lambda d: Recorder(d, tensors)).run
    assert losses(bare) == losses(metered)


def test_the_page_escapes_what_it_is_given():
    verdict, suspects = judge({Site("<b>evil</b>.py:1", "op"): dict.fromkeys(range(30), 10)}, 30)
    assert verdict == "leak"
    leak = {
        "allocated_at": suspects[0].site.line,
        "operation": "<i>",
        "bytes_per_step": 1.0,
        "steps_seen": 30,
    }
    page = render_page(
        {"verdict": "leak", "steps": 2, "leaks": [leak], "phases": {}, "model": "<x>", "counted": "bytes",
         "peak": {"allocated": 1, "step": 1, "rss": 1, "phase": "eval"},
         "series": {"allocated": [1, 2], "peak": [1, 2], "reserved": [None] * 2, "rss": [1, 2], "malloc": [1, 2]}}
    )  # fmt: skip
    assert "<b>evil" not in page
    assert "&lt;b&gt;evil" in page
    assert "<x>" not in page
