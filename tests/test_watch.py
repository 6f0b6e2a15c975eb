"""Watched folders: only complete pictures, one line for each, and an end by request, by time or by a limit."""

import json
import os
import shutil
import signal
import time
from contextlib import closing

import numpy as np
import pytest
from drawn_discs import disc_model, draw_discs, save
from PIL import Image

from segkit.config.predict import PredictConfig
from segkit.errors import ConfigError
from segkit.inference.predict import predict
from segkit.progress import Progress

pytest.importorskip("watchfiles")

from segkit.inference.arrivals import Arrivals

DISCS = [(30, 40, 20, 1), (80, 60, 15, 2)]


@pytest.fixture
def incoming(here):
    (here / "in").mkdir()
    return here / "in"


def draw(path, size=(100, 120)):
    return save(path, draw_discs(*size, DISCS))


def watching(folder, settle=0.3, done=frozenset(), out="out"):
    return closing(Arrivals([str(folder)], folder.parent / out, done, settle))


def until(condition, seconds=20.0):
    """Wait for something, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def taken(arrivals, count):
    found = []
    until(lambda: found.extend(arrivals.take(10, 0.1)) or len(found) >= count)
    return found


def test_what_is_there_and_what_arrives_is_taken_once(incoming):
    draw(incoming / "a.png"), draw(incoming / "done.png")
    with watching(incoming, done=frozenset([incoming / "done.png"])) as arrivals:
        (first,) = taken(arrivals, 1)
        assert (first.name, first.at, first.why) == ("a.png", None, None)
        draw(incoming / "sub/b.jpg")
        draw(incoming / "c.tmp.png").rename(incoming / "c.png")
        found = taken(arrivals, 2)
        assert {each.name for each in found} == {"sub/b.jpg", "c.png"}
        assert all(each.at is not None and each.why is None for each in found)
        assert arrivals.take(10, 0.6) == []
        assert arrivals.waiting == 0


def test_what_came_into_a_new_folder_before_it_was_watched_is_taken(incoming, monkeypatch):
    added = pytest.importorskip("watchfiles").Change.added

    def told(self):
        draw(incoming / "sub/b.png")
        yield {(added, str(incoming / "sub"))}
        while not self._ended.wait(0.05):
            yield set()

    monkeypatch.setattr(Arrivals, "_changes", told)
    with watching(incoming) as arrivals:
        assert [each.name for each in taken(arrivals, 1)] == ["sub/b.png"]


def test_a_file_that_grows_is_taken_when_it_is_complete(incoming):
    content = draw(incoming.parent / "whole.png", (300, 320)).read_bytes()
    with watching(incoming) as arrivals:
        with (incoming / "a.png").open("wb") as file:
            for start in range(0, len(content), len(content) // 5 + 1):
                assert arrivals.take(10, 0.1) == []
                file.write(content[start : start + len(content) // 5 + 1])
                file.flush()
                time.sleep(0.35 if start else 0.0)  # longer than files settle: what is missing is the end
        (found,) = taken(arrivals, 1)
        assert found.why is None
        assert (incoming / "a.png").read_bytes() == content


def test_what_is_no_picture_of_its_own_is_passed_over(incoming):
    with watching(incoming, out="in/out") as arrivals:
        for name in (".hidden/a.png", ".b.png", "out/overlay/c.png"):
            draw(incoming / name)
        os.mkfifo(incoming / "d.png")
        (incoming / "e.txt").write_text("no picture")
        (incoming / "f.png").symlink_to("gone.png")
        draw(incoming / "z.png")
        assert [each.name for each in taken(arrivals, 1)] == ["z.png"]
        assert arrivals.take(10, 0.6) == []


def test_a_file_that_does_not_become_complete_is_named_and_taken_when_it_is(incoming, monkeypatch):
    monkeypatch.setattr("segkit.inference.arrivals.GIVE_UP_SECONDS", 0.5)
    content = draw(incoming.parent / "whole.png").read_bytes()
    (incoming / "empty.png").touch()
    (incoming / "half.png").write_bytes(content[: len(content) // 2])
    with watching(incoming) as arrivals:
        found = {each.name: each.why for each in taken(arrivals, 2)}
        assert "an empty file" in found["empty.png"]
        assert "half.png: cannot be decoded" in found["half.png"]
        (incoming / "half.png").write_bytes(content)
        (again,) = taken(arrivals, 1)
        assert (again.name, again.why) == ("half.png", None)


def test_a_picture_that_changes_afterwards_is_said(incoming):
    draw(incoming / "a.png")
    with watching(incoming) as arrivals:
        taken(arrivals, 1)
        draw(incoming / "a.png", (50, 60))
        (said,) = until(arrivals.notes)
        assert said == "warning: a.png: has changed since it was predicted, and is not predicted again"
        draw(incoming / "a.png", (60, 60))
        draw(incoming / "b.png")
        taken(arrivals, 1)
        assert arrivals.notes() == []


def test_a_folder_that_goes_and_comes_back_is_looked_at_again(incoming, monkeypatch):
    monkeypatch.setattr("segkit.inference.arrivals.LOOK_SECONDS", 0.3)
    monkeypatch.setattr("segkit.inference.arrivals._SLOW_SECONDS", 0.3)
    with watching(incoming) as arrivals:
        shutil.rmtree(incoming)
        assert "no such file or folder" in until(arrivals.notes)[0]
        draw(incoming / "a.png")
        assert [each.name for each in taken(arrivals, 1)] == ["a.png"]


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)


def ask_to_stop(*_):
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def model(here, monkeypatch):
    model = disc_model(here / "m.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    return model


def config(**options):
    return PredictConfig(
        source=["in"], watch=True, settle=0.3, device="cpu", score=0.1, format=("coco", "csv"), **options
    )


def test_a_watch_predicts_what_arrives_until_it_is_asked_to_stop(incoming, model):
    draw(incoming / "a.png")
    notes, records = Notes(), []

    def on_picture(record):
        records.append(record)
        if len(records) == 1:
            draw(incoming / "b.png")
        else:
            ask_to_stop()

    summary = predict(config(), notes, on_picture)
    assert (summary.pictures, summary.limit, summary.failed) == (2, None, ())
    assert [each["file"] for each in records] == ["a.png", "b.png"]
    images = json.loads((summary.out / "images.json").read_bytes())["images"]
    assert [each["file_name"] for each in images] == ["a.png", "b.png"]
    first, second = records
    assert first["latency"] is None
    assert second["latency"] >= 0.3
    assert set(second["seconds"]) == {"read", "resize", "model", "encode", "write"}
    assert second["rss"] > 1 << 20
    (line,) = [line for line in notes.lines if line.startswith("b.png: 2 instances; read 0.")]
    assert "s after it came; queue 0; resident" in line


def test_a_watch_goes_on_where_it_was_and_passes_over_what_cannot_be_read(incoming, model, monkeypatch):
    monkeypatch.setattr("segkit.inference.arrivals.GIVE_UP_SECONDS", 0.5)
    draw(incoming / "a.png")
    predict(config(), Notes(), ask_to_stop)
    draw(incoming / "b.png")
    (incoming / "c.png").write_bytes(b"nothing")
    notes, records = Notes(), []

    def note(message):
        notes.lines.append(message)
        if records and any(line.startswith("error: ") for line in notes.lines):
            ask_to_stop()

    notes.note = note
    summary = predict(config(until=60.0, resume=True), notes, records.append)
    assert [each["file"] for each in records] == ["b.png"]
    assert len(summary.failed) == 1
    assert "c.png" in summary.failed[0]
    assert any(line.startswith("error: ") and "c.png" in line for line in notes.lines)
    images = json.loads((summary.out / "images.json").read_bytes())["images"]
    assert [each["file_name"] for each in images] == ["a.png", "b.png"]


def test_a_limit_ends_a_watch_with_a_code_of_its_own(incoming, model, monkeypatch, segkit):
    monkeypatch.setattr("segkit.inference.watch.resident", lambda: (5 << 30) if (incoming.parent / "p").exists() else 1)
    draw(incoming / "a.png")
    options = ["--watch", "--settle", "0.3s", "--format", "coco", "--device", "cpu"]
    outcome = segkit("predict", "in", *options, "--out", "p", "--max-rss", "4GiB")
    assert outcome.code == 1
    assert "--max-rss 4.00 GiB: 5.00 GiB are used before the first picture" in outcome.err
    shutil.rmtree(incoming.parent / "p")
    calls = []
    monkeypatch.setattr("segkit.inference.watch.resident", lambda: calls.append(1) or (1 << 30) * 3 * len(calls))
    outcome = segkit("predict", "in", *options, "--out", "p", "--max-rss", "4GiB")
    assert outcome.code == 6
    assert "error: 6.00 GiB of memory are used, more than --max-rss 4.00 GiB" in outcome.err
    assert len(json.loads((incoming.parent / "p/images.json").read_bytes())["images"]) == 1


def test_a_picture_that_takes_too_long_ends_a_watch(incoming, model):
    draw(incoming / "a.png")
    seen = []
    summary = predict(
        config(max_latency=0.01), Notes(), lambda record: seen.append(record) or draw(incoming / f"b{len(seen)}.png")
    )
    assert summary.limit is not None
    assert "b1.png: was done 0." in summary.limit
    assert "more than --max-latency" in summary.limit


def test_a_watch_is_refused_where_it_cannot_be(here, model):
    for options in ({"until": 5.0}, {"max_rss": 1 << 30}, {"max_latency": 1.0}, {"settle": 1.0}):
        with pytest.raises(ConfigError, match="is for watched folders"):
            PredictConfig(source=["in"], **options)
    with pytest.raises(ConfigError, match="not a folder"):
        PredictConfig(source=["-"], watch=True)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(here / "a.png")
    with pytest.raises(ConfigError, match=r"--watch a\.png: not a folder"):
        predict(PredictConfig(source=["a.png"], watch=True, device="cpu"))
    (here / "p").mkdir()
    with pytest.raises(ConfigError, match="--watch p: is --out, too"):
        predict(PredictConfig(source=["p"], watch=True, device="cpu", out=here / "p"))
