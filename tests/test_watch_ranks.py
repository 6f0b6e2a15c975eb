"""Several ranks share what arrives in a watched folder: their files are those of one process."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from random_models import card_of, checkpoint

from segkit.config.predict import PredictConfig
from segkit.inference.predict import predict
from segkit.progress import Progress

pytest.importorskip("watchfiles")


class Lines(Progress):
    """Writes what ranks say into files, as it is other processes that say it."""

    def __init__(self, folder):
        self.folder = folder

    def note(self, message):
        import os

        with (self.folder / f"{os.environ.get('RANK', 'only')}.txt").open("a") as file:
            file.write(message + "\n")


def config(out, model, **options):
    formats = ("coco", "csv", "idmask")
    return PredictConfig(
        source=["in"], watch=True, settle=0.3, until=30.0, out=out, model=model, device="cpu", score=0.1,
        format=formats, batch=1, **options,  # which pictures arrive together is chance, and rounding follows it
    )  # fmt: skip


def files(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_ranks_that_watch_write_what_one_process_writes(here):
    model = checkpoint(here / "m.pt", card_of("maskrcnn"))
    rng = np.random.default_rng(0)
    (here / "in").mkdir()
    for number in range(11):
        pixels = rng.integers(0, 256, (40 + 3 * number, 50 + number % 3 * 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(here / f"in/{number:02d}.png")
    (here / "lines").mkdir()
    one = predict(config(here / "a", model), Lines(here / "lines"))
    shutil.copy(here / "lines/only.txt", here / "one.txt")
    two = predict(config(here / "b", model, ranks=2), Lines(here / "lines"))
    assert (one.pictures, two.pictures) == (11, 11)
    assert files(here / "a") == files(here / "b")
    assert len(json.loads((here / "b/images.json").read_text())["images"]) == 11
    said = [(here / f"lines/{rank}.txt").read_text() for rank in (0, 1)]
    lines = [sum("; queue " in line for line in text.splitlines()) for text in said]
    assert sum(lines) == 11
    assert min(lines) > 1  # how many, the rounds say in which they came
    assert "watching 1 folder" in said[0]
    assert "watching 1 folder" not in said[1]
