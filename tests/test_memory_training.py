"""segkit's own training: the memory figures that it logs, and its profile."""

import json

import pytest
import torch
from training import config, losses

from segkit.config.memprofile import MemprofileConfig
from segkit.memory.measure.meter import CounterMeter
from segkit.memory.process.session_meter import SessionMeter
from segkit.memory.session import Session
from segkit.memprofile.profile import memprofile
from segkit.training.train import train


def test_the_meter_reads_the_figures_of_this_machine():
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
    assert document["top"]["steps"][0]["pictures"].endswith(".jpg")
    page = summary.page_path.read_text()
    assert page.count("<svg") == 1
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "<script" not in page


def test_a_profiled_run_computes_the_same_as_an_unprofiled_run(dataset, tmp_path):
    chosen = {"heads": "v2", "fpn_levels": (2, 3, 4), "anchor_sizes": (10, 20, 40, 80)}
    bare = train(config(dataset, tmp_path, model="maskrcnn", **chosen)).run
    session = Session()
    session.start(phases=False)
    try:
        again = config(dataset, tmp_path, model="maskrcnn", **chosen)
        metered = train(again, make_meter=lambda device: SessionMeter(device, session)).run
    finally:
        session.finish()
    assert losses(bare) == losses(metered)
    assert not session.failures


def test_memory_that_every_step_keeps_is_suspected():
    """Real memory: the bytes that malloc has in use, as the meter of every training reads them."""
    meter, kept = CounterMeter(torch.device("cpu")), []
    for _ in range(240):
        with meter.phase("forward"):
            kept.append(torch.zeros(25_000))
        meter.step()
    rise = meter.rise()
    if rise is None:
        pytest.skip("no mallinfo2 in this C library")
    assert rise == pytest.approx(100_000, rel=0.1)
    assert len(kept) == 240


def test_a_suspicion_is_reported_with_the_command_that_names_the_line(dataset, tmp_path, capsys, monkeypatch):
    from segkit.commands.output import Output
    from segkit.commands.render.models import render_training

    monkeypatch.setattr("segkit.memory.measure.meter.rise", lambda held: 51_200.0)
    summary = train(config(dataset, tmp_path, model="unet"))
    assert summary.memory_rise == 51_200
    render_training(summary, Output(quiet=False, as_json=False))
    said = " ".join(capsys.readouterr().err.split())
    assert "rose by 50 KiB per step" in said
    assert "segkit memprofile" in said
    for line in (summary.run / "metrics.jsonl").read_text().splitlines():
        step = json.loads(line)
        if step["kind"] == "step":
            assert step.keys() >= {"allocated", "reserved", "peak"}
            assert step["rss"] > 10**7
