"""``segkit label --next``: the pictures that would teach most, and the way back of what a person saved."""

import json
import stat
import sys

import numpy as np
import pytest
from drawn_discs import disc_model, draw_discs, save
from labelme_files import shape, write
from labelme_program import open_in_labelme
from PIL import Image

from segkit.review.diverse import choose_diverse
from segkit.review.next_folder import NextPicture, write_next


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Pictures of discs, two of them annotated, and a model that finds discs with the score in their blue."""
    rng = np.random.default_rng(0)
    for n in range(8):
        spots = [(20 + 40 * k, 20 + int(rng.integers(80)), 12, 1) for k in range(1 + n % 4)]
        pixels = draw_discs(120, 200, spots)
        pixels[..., 2] = np.where(pixels.max(axis=2) > 0, 235 - 15 * n, 0)  # the later, the less certain
        save(tmp_path / f"in/{n}.png", pixels)
    circle = shape("a", [[20, 20], [32, 20]], "circle")
    for n in (0, 7):
        write(tmp_path / f"in/{n}.json", [circle], picture=False)
    model = disc_model(tmp_path / "m.pt")
    monkeypatch.setattr("segkit.review.choose_next.load", lambda *_, **__: model)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    return tmp_path


def opens(pool, monkeypatch, code):
    """A program in place of LabelMe: Python code about ``files``, the LabelMe files of the folder by name."""
    program = pool / "labelme"
    lines = ("#!" + sys.executable, "import json, pathlib, sys", "folder = pathlib.Path(sys.argv[1])",
             "files = sorted(p for p in folder.glob('*.json') if p.name != 'next.json')", code)  # fmt: skip
    program.write_text("\n".join(lines))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("segkit.runtime.labelme.labelme_program", lambda: str(program))


def listing(segkit, pool, count=3, *more):
    outcome = segkit("label", pool / "in", "--next", count, "--model", pool / "m.pt", "--json", *more)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_least_certain_pictures_without_annotations_are_listed(segkit, pool):
    before = snapshot(pool / "in")
    document = listing(segkit, pool, 20)
    assert (document["annotated"], document["candidates"]) == (2, 6)
    names = [each["image"].rpartition("/")[2] for each in document["next"]]
    assert sorted(names) == ["1.png", "2.png", "3.png", "4.png", "5.png", "6.png"]
    values = {each["image"].rpartition("/")[2]: each["uncertainty"]["score"] for each in document["next"]}
    assert sorted(values, key=values.get, reverse=True) == ["6.png", "5.png", "4.png", "3.png", "2.png", "1.png"]
    outcome = segkit("label", pool / "in", "--next", 2, "--dry-run")
    assert outcome.code == 0
    assert outcome.out.count("would write") == 2
    assert "/6.png" in segkit("label", pool / "in", "--next", 2, "--list").out
    assert segkit("label", pool / "in", "--next", 2, "--list", "-q").out.startswith("2 of 6 pictures without")
    assert snapshot(pool / "in") == before
    assert not (pool / "in-next").exists()


def test_what_was_saved_comes_back_and_the_rest_stays_without_annotations(segkit, pool, monkeypatch):
    first = listing(segkit, pool)["next"][0]["image"].rpartition("/")[2]
    opens(pool, monkeypatch, """
document = json.loads(files[0].read_text())
assert len(files) == 3 and document["flags"] == {"predicted": True}
assert all(s["flags"] == {"predicted": True} and 0 < s["score"] < 1 for s in document["shapes"])
document["shapes"].append({"label": "b", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon", "flags": {},
                           "group_id": None, "description": "mine"})
files[0].write_text(json.dumps(document))
""")  # fmt: skip
    before = snapshot(pool / "in")
    outcome = segkit("label", pool / "in", "--next", 3)
    assert outcome.code == 0, outcome.err
    assert "LabelMe opens on 3 pictures of 6 without annotations" in outcome.err
    assert "1 file was saved; 2 not touched" in outcome.err
    after = snapshot(pool / "in")
    new = first.replace(".png", ".json")
    assert after.keys() - before.keys() == {new}
    assert all(after[name] == before[name] for name in before)
    document = json.loads(after[new])
    assert document["imagePath"] == first
    assert document["flags"] == {}
    assert document["shapes"][-1]["description"] == "mine"
    assert all("score" not in each and each["flags"] == {} for each in document["shapes"])
    assert not (pool / "in-next").exists()
    assert open_in_labelme(pool / "in" / new)[0]["has_picture"]
    assert listing(segkit, pool, 9)["annotated"] == 3


def test_a_file_that_a_person_saved_is_never_overwritten(segkit, pool, monkeypatch):
    opens(pool, monkeypatch, """
for file in files:
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document))
target = json.loads((folder / "next.json").read_text())["next"][0]["target"]
pathlib.Path(target).write_text("mine")
files[1].write_text("{ broken")
""")  # fmt: skip
    outcome = segkit("label", pool / "in", "--next", 3)
    assert outcome.code == 0
    assert "was saved meanwhile, and is not overwritten; it stays here" in outcome.err
    assert "is no LabelMe file; it stays here" in outcome.err
    assert [path.read_text() for path in (pool / "in").glob("*.json")].count("mine") == 1
    kept = sorted(path.suffix for path in (pool / "in-next").iterdir())
    assert kept == [".json", ".json", ".json", ".png", ".png"]
    again = segkit("label", pool / "in", "--next", 3)  # what is left is not swept away
    assert again.code == 1
    assert "was saved meanwhile, and is not overwritten; it stays here" in again.err
    assert "has files that segkit did not make" in again.err
    assert sorted(path.suffix for path in (pool / "in-next").iterdir()) == kept


def test_after_a_crash_what_was_saved_is_merged(segkit, pool, monkeypatch):
    opens(pool, monkeypatch, "files[0].write_text(files[0].read_text() + ' '); import os; os.kill(os.getppid(), 2)")
    assert segkit("label", pool / "in", "--next", 2).code == 130
    assert (pool / "in-next/next.json").is_file()
    outcome = segkit("label", pool / "in", "--merge", "--json")
    assert "1 file was saved; 1 not touched" in outcome.err
    merged = json.loads(outcome.out)["merged"]
    assert (len(merged["saved"]), merged["untouched"], merged["kept"]) == (1, 1, [])
    assert not (pool / "in-next").exists()
    assert len(list((pool / "in").glob("*.json"))) == 3
    assert segkit("label", pool / "in", "--merge").code == 0


@pytest.mark.parametrize("where", ["elsewhere/1.json", "in/../elsewhere/1.json", "in/1.py", "in/sub/1.json"])
def test_nothing_is_merged_outside_of_the_folder(here, segkit, where):
    """Folders of ``--next`` come from others, too; a folder in DIR may be a link."""
    for folder in ("in", "elsewhere", "beside"):
        (here / folder).mkdir()
    (here / "in/sub").symlink_to(here / "beside")
    Image.new("RGB", (40, 30)).save(here / "in/1.png")
    write_next(here / "in-next", [NextPicture(here / "in/1.png", here / where, (), 30, 40)], {})
    (file,) = (here / "in-next").glob("01*.json")
    file.write_text(file.read_text() + " ")
    outcome = segkit("label", "in", "--merge")
    if where == "in/sub/1.json":
        assert (here / "beside/1.json").is_file()
        return
    assert "and is not written; it stays here" in outcome.err
    assert file.is_file()
    assert sorted(path.name for path in here.rglob("1.*")) == ["1.png"]


def test_what_cannot_be_done_is_refused_before_anything_is_written(segkit, pool, monkeypatch):
    (pool / "none").mkdir()
    (pool / "in-next").mkdir()
    (pool / "in-next/own.txt").write_text("own")
    for arguments, message in (
        (["none", "--next", 2], "no pictures there"),
        (["in", "--next", 2], "is no folder of segkit label --next"),
        (["in", "--next", 2, "--into", "in/x"], "is inside of in"),
        (["in", "--score", 0.3], "--score: is for --next"),
        (["in", "--next", 0], "0 is less than 1"),
        (["in", "--next", 2, "--merge"], "--next does so, too"),
    ):
        monkeypatch.chdir(pool)
        outcome = segkit("label", *arguments)
        assert outcome.code in (1, 2), arguments
        assert message in outcome.err
    assert (pool / "in-next/own.txt").read_text() == "own"
    monkeypatch.delenv("QT_QPA_PLATFORM")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "there is no display" in segkit("label", "in", "--next", 2, "--into", "x").err


def test_frames_of_one_scene_do_not_fill_the_list():
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 255, (3, 256))
    frames = [np.clip(scenes[n // 10] + rng.integers(-3, 4, 256), 0, 255).astype(np.uint8).tobytes() for n in range(30)]
    values = [3.0] * 10 + [2.0] * 10 + [1.0] * 10
    assert {place // 10 for place, _ in choose_diverse(values, frames, [], 3)} == {0, 1, 2}
    assert choose_diverse(values, frames, [frames[0]], 1)[0][0] // 10 == 1  # the first scene is annotated already
    assert [place for place, _ in choose_diverse([1.0, 2.0], [b"\0" * 256] * 2, [], 9)] == [1, 0]


@pytest.mark.slow
def test_the_window_of_labelme_opens_on_the_pictures_and_changes_none(segkit, pool, monkeypatch):
    from segkit.runtime.labelme import labelme_program

    real = labelme_program()
    opens(pool, monkeypatch, f"""
import subprocess
try:
    done = subprocess.run([{real!r}, str(folder)], timeout=15, capture_output=True, text=True)
    sys.exit(f"LabelMe ended by itself: {{done.stderr}}")
except subprocess.TimeoutExpired:
    pass  # the window was open
""")  # fmt: skip
    monkeypatch.setenv("HOME", str(pool))
    outcome = segkit("label", pool / "in", "--next", 2)
    assert outcome.code == 0, outcome.err
    assert "0 files were saved; 2 not touched" in outcome.err
    assert len(list((pool / "in").glob("*.json"))) == 2
