"""Pages of a file as pictures: stacks in z or in time, and films."""

import json

import numpy as np
import pytest
import tifffile
from drawn_discs import disc_model, draw_discs
from PIL import Image

COUNTS = [1, 3, 0, 2]


@pytest.fixture
def stack(monkeypatch, tmp_path, here):
    model = disc_model(tmp_path / "m.pt")
    monkeypatch.setattr("segkit.inference.predict.load", lambda *_, **__: model)
    (here / "in").mkdir()
    pages = [draw_discs(60, 90, [(15 + 25 * n, 30, 8, 1) for n in range(count)]) for count in COUNTS]
    tifffile.imwrite(here / "in/stack.tif", np.stack(pages), photometric="rgb")
    Image.fromarray(pages[1]).save(here / "in/plain.tif")
    return here


def found(here):
    return {(line := json.loads(text))["file"]: len(line["instances"])
            for text in (here / "predictions/pictures.jsonl").read_text().splitlines()}  # fmt: skip


def test_each_page_is_a_picture(segkit, stack):
    done = segkit("predict", "in", "--pages", "all", "--format", "coco,overlay,csv")
    assert done.code == 0, done.err
    assert "page 1 of" not in done.err
    assert found(stack) == {"plain.tif": 3} | {f"stack.tif#{n}": count for n, count in enumerate(COUNTS, 1)}
    overlays = sorted(path.name for path in (stack / "predictions/overlay").iterdir())
    assert overlays == ["plain.jpg", "stack#1.jpg", "stack#2.jpg", "stack#3.jpg", "stack#4.jpg"]


def test_a_file_that_is_called_like_a_page_keeps_its_files(segkit, stack):
    Image.fromarray(draw_discs(60, 90, [])).save(stack / "in/stack#2.png")
    options = ("predict", "in", "--pages", "all", "--format", "idmask", "--resume")
    for _ in range(2):
        assert segkit(*options).code == 0
        names = {path.stem: len(np.unique(np.asarray(Image.open(path)))) - 1
                 for path in (stack / "predictions/idmask").iterdir()}  # fmt: skip
        assert names == {"plain": 3, "stack#2": 0} | {f"stack_pages#{n}": count for n, count in enumerate(COUNTS, 1)}


def test_pages_are_resumed_and_replaced(segkit, stack):
    options = ("predict", "in", "--pages", "all", "--format", "coco,overlay")
    assert segkit(*options).code == 0
    journal = stack / "predictions/pictures.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    done = segkit(*options, "--resume")
    assert done.code == 0, done.err
    assert "(3 done before)" in done.err
    assert journal.read_bytes() == whole
    assert segkit(*options, "--resume", "--json").out == ""
    other = segkit("predict", "in", "--resume")
    assert other.code == 1
    assert "with --pages all, not without --pages" in other.err
    assert segkit("predict", "in", "--force", "--format", "coco").code == 0
    assert not list((stack / "predictions").rglob("*.jpg"))
    assert found(stack) == {"plain.tif": 3, "stack.tif": 1}


def test_values_of_each_page_are_measured(segkit, stack):
    (stack / "in/stack.tif").unlink()
    values = np.stack([np.where(draw_discs(60, 90, [(30, 30, 8, 1)])[..., 0] > 0, 1000 * n, 0) for n in (20, 40)])
    tifffile.imwrite(stack / "in/stack.tif", values.astype(np.uint16), photometric="minisblack")
    assert segkit("predict", "in", "--pages", "all", "--measure", "--format", "csv").code == 0
    for page, mean in ((1, 20000), (2, 40000)):
        measured = json.loads((stack / f"predictions/measures/stack#{page}.json").read_text())["instances"]
        assert {row["mean_1"] for row in measured} == {mean}


def test_pages_in_tiles_and_in_parts(segkit, stack, monkeypatch):
    monkeypatch.setattr("segkit.inference.load.LARGEST_WHOLE", 0)
    done = segkit("predict", "in", "--pages", "all", "--tile", 48, "--format", "coco")
    assert done.code == 0, done.err
    assert "read in parts" in done.err
    assert found(stack) == {"plain.tif": 3} | {f"stack.tif#{n}": count for n, count in enumerate(COUNTS, 1)}


def test_labelme_files_of_pages_are_refused(segkit, stack):
    done = segkit("predict", "in", "--pages", "all", "--format", "labelme")
    assert done.code == 1
    assert "error: --pages all: LabelMe shows the first page of a file only" in done.err


def test_colours_of_sixteen_bits_on_further_pages_are_refused(segkit, stack):
    values = np.zeros((2, 40, 40, 3), np.uint16)
    tifffile.imwrite(stack / "in/stack.tif", values, photometric="rgb")
    done = segkit("predict", "in", "--pages", "all", "--format", "coco")
    assert done.code == 1
    assert "page 2 has more than 8 bits in colours: save its pages as files" in done.err
    assert list(found(stack)) == ["plain.tif", "stack.tif#1"]
