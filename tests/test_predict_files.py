"""The files of ``predict``, and names in ``convert``: after the pictures, inside ``--out``, whole, of one model."""

import csv
import errno
import io
import json
import os
import shutil
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from labelme_files import square, write
from PIL import Image
from random_models import card_of, checkpoint

from segkit.conversion.names import unique_names
from segkit.data.files import path_inside, temporary_file
from segkit.data.masks import mask_to_rle
from segkit.data.records import Category, Result
from segkit.errors import InputError
from segkit.inference.input_files import Picture, find_pictures
from segkit.inference.journal import Origin, PictureResults
from segkit.inference.notes import Notes
from segkit.inference.outputs import Writer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / "m.pt", card_of("unet"))


def draw(path, size=(40, 50), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def names_in(out):
    images = json.loads((out / "images.json").read_text())["images"]
    return [image["file_name"] for image in images]


def rows(out):
    with (out / "instances.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def predict(segkit, *arguments, stdin=None, monkeypatch=None):
    if stdin is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    outcome = segkit("predict", *arguments, "--device", "cpu", "--score", 0.1, "--json")
    return outcome, [json.loads(line) for line in outcome.out.splitlines()]


def test_a_folder_that_cannot_be_listed_is_named(segkit, here, model, monkeypatch):
    for name in ("open/a.png", "closed/b.png"):
        draw(here / "in" / name)
    listed = os.scandir

    def refuse(path="."):
        if not isinstance(path, int) and Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    outcome, lines = predict(segkit, "in", "--model", model)
    assert (outcome.code, [line["file"] for line in lines]) == (1, ["open/a.png"])
    assert f"error: {Path('in/closed')}: a folder that cannot be read: Permission denied" in outcome.err


def test_results_name_pictures_by_their_own_path(segkit, here, model):
    for seed, name in enumerate(["a.jpg", "a.png", "s/a.jpg"]):
        draw(here / "in" / name, seed=seed)
    outcome, lines = predict(segkit, "in", "--model", model, "--format", "overlay,labelme,coco,idmask,csv")
    assert outcome.code == 0, outcome.err
    own = ["a.jpg", "a.png", "s/a.jpg"]
    assert [line["file"] for line in lines] == names_in(here / "predictions") == own
    assert {row["file"] for row in rows(here / "predictions")} == {n["file"] for n in lines if n["instances"]}
    for folder in ("overlay", "labelme", "idmask"):
        stems = {
            p.relative_to(here / "predictions" / folder).with_suffix("").as_posix()
            for p in (here / "predictions" / folder).rglob("*.*")
        }
        assert stems == {line["stem"] for line in lines}
        assert len(stems) == 3


def test_pictures_of_two_folders_keep_their_paths(segkit, here, model):
    draw(here / "one/a.png"), draw(here / "two/a.png", seed=1)
    outcome, _ = predict(segkit, "one", "two", "one/a.png", "--model", model, "--format", "coco")
    assert outcome.code == 0, outcome.err
    assert names_in(here / "predictions") == ["one/a.png", "two/a.png"]


def test_a_picture_that_comes_later_does_not_take_a_name(segkit, here, model):
    draw(here / "one/a.png"), draw(here / "two/a.png", seed=1)
    options = ["--model", model, "--format", "coco,overlay"]
    assert predict(segkit, "one", *options)[0].code == 0
    outcome, lines = predict(segkit, "two", *options, "--resume")
    assert outcome.code == 0, outcome.err
    assert names_in(here / "predictions") == ["a.png", "two/a.png"]
    assert [line["stem"] for line in lines] == ["two/a"]


def test_links_to_one_picture_are_two_pictures(segkit, here, model):
    draw(here / "in/a.png")
    (here / "in/b.png").symlink_to("a.png")
    options = ["in", "--model", model, "--format", "coco"]
    assert len(predict(segkit, *options)[1]) == 2
    (here / "in/c.png").symlink_to("a.png")
    _, lines = predict(segkit, *options, "--resume")
    assert [line["file"] for line in lines] == ["c.png"]
    assert names_in(here / "predictions") == ["a.png", "b.png", "c.png"]


def test_names_from_stdin_do_not_lead_out_of_the_output_folder(segkit, here, model, monkeypatch):
    """Equal names are made different by their folders, and ``..`` is among these."""
    work = here / "place"
    draw(work / "a.jpg"), draw(here / "a.jpg", seed=1), draw(here / "up.jpg", seed=2)
    before = {path: path.read_bytes() for path in here.rglob("*.jpg")}
    monkeypatch.chdir(work)
    outcome, lines = predict(
        segkit, "-", "--model", model, "--format", "overlay,labelme,coco,idmask", "--out", "o",
        stdin="a.jpg\n../a.jpg\n../place/../up.jpg\n./../place/a.jpg\n", monkeypatch=monkeypatch,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert len(lines) == 3
    assert not any(".." in line["file"] for line in lines)
    assert {path: path.read_bytes() for path in here.rglob("*.jpg") if work / "o" not in path.parents} == before
    assert len(list((work / "o/overlay").rglob("*.jpg"))) == 3


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png", "..", "", "a/.."])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="leads out of"):
        path_inside(out, name)
    with pytest.raises(InputError), temporary_file(out / name, inside=out) as temporary:
        temporary.write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_stays_in_the_folder_is_written(tmp_path):
    with temporary_file(tmp_path / "out/a/../..b/c.txt", inside=tmp_path / "out") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "out/..b/c.txt").read_text() == "x"


@pytest.mark.parametrize("left", [0.5, 1.0], ids=["half a line", "no line end"])
def test_resume_drops_a_torn_line_and_loses_no_picture(segkit, here, model, left):
    for number in range(3):
        draw(here / f"in/{number}.png", seed=number)
    options = ["in", "--model", model, "--format", "coco,csv"]
    assert predict(segkit, *options)[0].code == 0
    whole = {name: (here / "predictions" / name).read_bytes() for name in ("results.json", "images.json")}
    journal = here / "predictions/pictures.jsonl"
    first, second, _ = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + second[: round(left * (len(second) - 1))])
    outcome, lines = predict(segkit, *options, "--resume")
    assert outcome.code == 0, outcome.err
    assert [line["file"] for line in lines] == ["1.png", "2.png"]
    assert {name: (here / "predictions" / name).read_bytes() for name in whole} == whole
    assert len(journal.read_bytes().splitlines()) == 3


def test_resume_refuses_what_would_mix_predictions(segkit, here, model):
    draw(here / "in/a.png")
    own = here / "own.pt"
    shutil.copy(model, own)
    assert segkit("predict", "in", "--model", own).code == 0
    other = segkit("predict", "in", "--model", own, "--score", 0.3, "--resume")
    assert other.code == 1
    assert "error: predictions: its predictions were made with --score 0.5, not 0.3" in other.err
    checkpoint(own, card_of("unet", "group"))
    changed = segkit("predict", "in", "--model", own, "--resume")
    assert changed.code == 1
    assert f"its predictions are by {own} as it was before: the file has changed since" in changed.err
    assert segkit("predict", "in", "--model", own, "--force").code == 0


def test_results_of_others_are_not_replaced(segkit, here, model):
    draw(here / "in/a.png")
    (here / "predictions").mkdir()
    (here / "predictions/results.json").write_text("mine")
    for option in ([], ["--resume"], ["--force"]):
        outcome = segkit("predict", "in", "--model", model, *option)
        assert outcome.code == 1
        assert "predictions: has results.json that segkit did not make" in outcome.err
    assert (here / "predictions/results.json").read_text() == "mine"


def test_force_removes_its_own_files_and_no_others(segkit, here, model):
    draw(here / "in/a.png")
    draw(here / "in/sub/b.png")
    assert segkit("predict", "in", "--model", model).code == 0
    (here / "predictions/overlay/mine.jpg").write_text("mine")
    shutil.rmtree(here / "in/sub")
    assert segkit("predict", "in", "--model", model, "--force", "--format", "overlay").code == 0
    found = sorted(path.relative_to(here / "predictions").as_posix() for path in here.glob("predictions/**/*"))
    assert found == ["overlay", "overlay/a.jpg", "overlay/mine.jpg", "pictures.jsonl"]


@pytest.mark.parametrize("more", [["--resume"], ["--force"]])
def test_links_that_lead_out_of_the_output_folder_are_not_followed(segkit, here, model, more):
    draw(here / "in/a.png")
    assert predict(segkit, "in", "--model", model)[0].code == 0
    outside = here / "outside"
    (here / "predictions/overlay").rename(outside)
    (here / "predictions/overlay").symlink_to(outside, target_is_directory=True)
    (outside / "a.jpg").write_bytes(b"of the user")
    draw(here / "in/b.png", seed=1)
    outcome, _ = predict(segkit, "in", "--model", model, *more)
    assert outcome.code == 1
    assert (
        "error: predictions/overlay: is a link that leads out of predictions, where nothing is written" in outcome.err
    )
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"a.jpg": b"of the user"}
    (here / "predictions/overlay").unlink()
    (here / "predictions/mine").mkdir()
    (here / "predictions/overlay").symlink_to("mine", target_is_directory=True)  # a link inside is followed
    assert predict(segkit, "in", "--model", model, *more)[0].code == 0
    assert {path.name for path in (here / "predictions/mine").iterdir()} == {"a.jpg", "b.jpg"}


def test_a_model_among_the_pictures_is_named_with_its_option(segkit, here, model):
    draw(here / "in/a.png")
    draw(here / "run/curves.png")
    (here / "run/config.toml").touch()
    shutil.copy(model, here / "run/best.pt")
    for given in (model, here / "run"):
        outcome = segkit("predict", given, "in", "--model", model, "--device", "cpu")
        assert (outcome.code, "a model, and no picture" in outcome.err) == (1, True), outcome.err
        assert f"--model {given}" in outcome.err
    assert not (here / "predictions").exists()


def test_an_empty_list_of_formats_is_refused(segkit, here):
    outcome = segkit("predict", "in", "--format", " , ")
    assert outcome.code == 1
    assert outcome.err.startswith("error: --format: nothing would be written")


def test_a_journal_that_is_a_link_is_not_written_through(segkit, here, model):
    draw(here / "in/a.png")
    assert predict(segkit, "in", "--model", model)[0].code == 0
    journal = here / "predictions/pictures.jsonl"
    journal.rename(here / "mine.jsonl")
    journal.symlink_to(here / "mine.jsonl")
    before = (here / "mine.jsonl").read_bytes()
    draw(here / "in/b.png", seed=1)
    assert predict(segkit, "in", "--model", model, "--resume")[0].code == 1
    assert (here / "mine.jsonl").read_bytes() == before


def test_an_id_mask_holds_those_of_the_highest_scores_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.inference.number_maps.MOST_IDS", 2)
    masks = [np.zeros((4, 6), np.uint8) for _ in range(3)]
    for number, mask in enumerate(masks):
        mask[number] = 1
    results = tuple(Result(0, 1, 0.9 - number / 10, None, mask_to_rle(mask)) for number, mask in enumerate(masks))
    picture = Picture(Path("a.png"), "a.png", "a")
    done = PictureResults(picture, 4, 6, Origin(Path("m.pt"), None, None), results)
    with closing(Writer(tmp_path, ("idmask",), (Category(1, "c"),))) as writer:
        writer.write(done)
    assert np.array(Image.open(tmp_path / "idmask/a.png"))[:, 0].tolist() == [1, 2, 0, 0]
    notes = Notes(None, most_ids=2)
    notes.predicted("a.png", 3)
    assert notes.warnings() == [
        "a.png: has more than the 2 instances that an id mask holds; those of the lowest scores are not in it"
    ]


def test_pictures_in_the_output_folder_are_not_deleted_before_they_are_predicted(segkit, here, model):
    draw(here / "in/a.png")
    assert segkit("predict", "in", "--model", model).code == 0
    outcome = segkit("predict", "predictions/overlay", "--model", model, "--force")
    assert outcome.code == 1
    assert "predictions/overlay/a.jpg: is in predictions, which --force empties first" in outcome.err
    assert (here / "predictions/overlay/a.jpg").is_file()


def test_an_overlay_that_no_jpeg_holds_is_made_smaller(tmp_path):
    pixels = np.zeros((70_000, 3, 3), np.uint8)
    picture = Picture(Path("scan.png"), "scan.png", "scan")
    done = PictureResults(picture, *pixels.shape[:2], Origin(Path("m.pt"), None, None), (), pixels=pixels)
    with closing(Writer(tmp_path, ("overlay",), (Category(1, "c"),))) as writer:
        writer.write(done)
        writer.write(done)
    with Image.open(tmp_path / "overlay/scan.jpg") as overlay:
        assert overlay.size == (3, 65_500)
    assert writer.notes == ["overlays of pictures with more than 65500 pixels on a side are smaller: JPEG has no more"]


def test_a_journal_with_another_category_is_named(segkit, here, model):
    draw(here / "in/a.png")
    assert segkit("predict", "in", "--model", model, "--score", 0).code == 0
    journal = here / "predictions/pictures.jsonl"
    line = json.loads(journal.read_text())
    line["instances"] = [{"category_id": 77, "score": 0.5, "bbox": [1, 1, 2, 2], "segmentation": None}]
    journal.write_text(json.dumps(line) + "\n")
    done = segkit("predict", "in", "--model", model, "--score", 0, "--resume")
    assert done.code == 1
    assert "category_id 77, which the model does not have" in done.err


def test_a_model_that_cannot_be_read_replaces_nothing(segkit, here, model):
    draw(here / "in/a.png")
    assert segkit("predict", "in", "--model", model).code == 0
    before = sorted(here.glob("predictions/**/*"))
    (here / "bad.pt").write_bytes(b"nothing")
    assert segkit("predict", "in", "--model", "bad.pt", "--force").code == 1
    assert sorted(here.glob("predictions/**/*")) == before


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "b/../../a.png"])
def test_convert_gives_no_name_that_leaves_the_dataset(name):
    with pytest.raises(InputError, match="leads out of"):
        unique_names([[name]], by_stem=True)
    assert unique_names([["b/../a..png"], ["a.png"]], by_stem=True) == ["b/../a..png", "a.png"]


@pytest.mark.parametrize("target", ["coco", "yolo", "labelme", "voc", "idmask", "semantic"])
def test_convert_from_stdin_stays_in_the_output_folder(segkit, here, monkeypatch, target):
    work = here / "place"
    for number, folder in enumerate((work, work / "s", here / "other")):
        write(folder / "a.json", [square(2 + number, 2, 20)], size=(40, 50))
    before = {path: path.read_bytes() for path in here.rglob("a.*")}
    monkeypatch.chdir(work)
    monkeypatch.setattr("sys.stdin", io.StringIO("a.json\ns/a.json\n../other/a.json\ns/../a.json\n"))
    outcome = segkit("convert", "-", "--to", target, "--out", "o", "--images", "copy", "--val", 0)
    assert outcome.code == 0, outcome.err
    assert "from 3 files (labelme)" in outcome.err
    assert {path: path.read_bytes() for path in here.rglob("a.*") if work / "o" not in path.parents} == before
    assert sorted(path.name for path in here.iterdir()) == ["other", "place"]


def test_a_name_with_brackets_is_that_file_and_no_pattern(here):
    for name in ("a[1].png", "a1.png"):
        Image.new("RGB", (8, 8)).save(here / name)
    (here / "f[1]").mkdir()
    Image.new("RGB", (8, 8)).save(here / "f[1]/b.png")
    assert list(find_pictures(["a[1].png"], None, ())) == [Path("a[1].png")]
    assert list(find_pictures(["f[1]"], None, ())) == [Path("f[1]/b.png")]
    assert list(find_pictures(["a[0-9].png"], None, ())) == [Path("a1.png")]


def test_a_list_of_files_may_begin_with_a_mark_or_be_ended_by_zeros(here):
    for name in ("a b.png", "c.png"):
        Image.new("RGB", (8, 8)).save(here / name)
    both = [Path("a b.png"), Path("c.png")]
    assert list(find_pictures(["-"], None, ["\ufeffa b.png\r\n", "\n", "c.png"])) == both
    assert list(find_pictures(["-"], None, ["a b.png\0c.png\0"])) == both


@pytest.mark.skipif(sys.platform == "win32", reason="its names have no line breaks")
def test_a_list_that_is_ended_by_zeros_has_names_with_line_breaks(here):
    for name in ("a\nb.png", " c.png", "d\n"):
        draw(here / "p.png").rename(here / name)
    found = find_pictures(["-"], None, ["a\n", "b.png\0", " c.png\0d\n", "\0"])
    assert list(found) == [Path("a\nb.png"), Path(" c.png"), Path("d\n")]


def test_files_of_a_list_that_are_not_there_are_counted(here):
    draw(here / "a.png")
    with pytest.raises(InputError, match=r"^b\.png: no such file or folder \(and 1 more of the list\)$"):
        find_pictures(["-"], None, ["b.png\n", "a.png\n", "c.png\n"])
