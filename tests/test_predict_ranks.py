"""Several ranks share the pictures of ``predict``: their files are those of one process, to the byte."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image
from random_models import card_of, checkpoint

from segkit.config.predict import PredictConfig
from segkit.errors import ConfigError, DeviceError, InputError
from segkit.inference.journal import journal_of, left_by_ranks, read_journal, take_in_ranks
from segkit.inference.predict import predict


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / "m.pt", card_of("maskrcnn"))


def pictures(folder, count):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = rng.integers(0, 256, (40 + 3 * number, 50 + number % 3 * 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def config(source, out, model, **options):
    formats = ("overlay", "coco", "csv", "idmask", "labelme")
    return PredictConfig(
        source=[str(source)], out=out, model=model, device="cpu", score=0.1, format=formats, batch=2, **options
    )


def files(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_two_ranks_write_what_one_process_writes(tmp_path, model):
    source = pictures(tmp_path / "in", 11)
    (source / "04.png").write_bytes(b"nothing")
    (source / "07.png").write_bytes(b"")
    one = predict(config(source, tmp_path / "a", model))
    # labelme files hold the way to the picture: the output folders are on one level
    two = predict(config(source, tmp_path / "b", model, ranks=2))
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert (two.pictures, two.failed, two.instances) == (one.pictures, one.failed, one.instances)
    assert one.pictures == 9
    assert len(one.failed) == 2


class Killer:
    """Ends its process without a word when the second rank has written two pictures."""

    def __init__(self):
        self.count = 0

    def __call__(self, record):
        self.count += 1
        if os.environ.get("RANK") == "1" and self.count == 2:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_after_a_killed_rank_resume_goes_on_and_the_files_are_the_same(tmp_path, model):
    source = pictures(tmp_path / "in", 14)
    predict(config(source, tmp_path / "a", model))
    with pytest.raises(DeviceError, match="rank 1 was killed by signal 9") as raised:
        predict(config(source, tmp_path / "b", model, ranks=2), on_picture=Killer())
    assert "segkit predict --resume" in raised.value.hint
    assert [path.name for path in left_by_ranks(tmp_path / "b")] == [".pictures.rank-1.jsonl"]
    summary = predict(config(source, tmp_path / "b", model, resume=True))
    assert summary.skipped >= 2
    assert {name: content for name, content in files(tmp_path / "b").items() if name.suffix != ".jsonl"} == {
        name: content for name, content in files(tmp_path / "a").items() if name.suffix != ".jsonl"
    }


def record(name):
    return {
        "file": name, "path": f"/{name}", "stem": name, "model": "/m.pt", "height": 1, "width": 1, "instances": []
    }  # fmt: skip


def test_journals_of_ranks_become_one_in_the_order_of_the_pictures(tmp_path):
    own = {0: ["old", "a", "b", "e"], 1: ["c", "d", "g"], 2: ["f"]}
    for rank, names in own.items():
        lines = "".join(json.dumps(record(name)) + "\n" for name in names)
        journal_of(tmp_path, rank).write_text(lines + ('{"file": "h", "pa' if rank == 1 else ""))
    take_in_ranks(tmp_path, "abcdefgh")
    assert [done.picture.name for done in read_journal(tmp_path)] == ["old", *"abcdefg"]
    assert left_by_ranks(tmp_path) == []
    before = journal_of(tmp_path, 0).read_bytes()
    take_in_ranks(tmp_path, "gfedcba")
    assert journal_of(tmp_path, 0).read_bytes() == before


def test_ranks_are_refused_where_they_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match="--ranks goes with --device cpu"):
        PredictConfig(source=["x"], ranks=2)
    with pytest.raises(ConfigError, match="--gpus and --device cpu contradict each other"):
        PredictConfig(source=["x"], gpus=(0, 1), device="cpu")


@pytest.mark.slow
def test_the_error_of_the_first_rank_ends_all(tmp_path, model):
    source = pictures(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/results.json").write_text("[]")
    with pytest.raises(InputError, match=r"results\.json that segkit did not make"):
        predict(config(source, tmp_path / "out", model, ranks=2))
