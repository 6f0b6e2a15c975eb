"""``segkit check``: facts about annotations, and likely errors by predictions that do not agree with them."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tifffile
from browser import render
from labelme_files import shape, square, write
from labelme_program import open_in_labelme
from PIL import Image
from planted_errors import plant, ranks

from segkit.models.packaged_weights import PACKAGED
from segkit.review.geometry import crossing


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Drawn images with planted errors, and the files of the two datasets and of exact results. Read only."""
    folder = tmp_path_factory.mktemp("planted")
    made = plant(folder)
    return made, *made.write(folder)


def findings(segkit, *arguments):
    outcome = segkit("check", *arguments, "--json")
    assert outcome.code in (0, 3), outcome.err
    return json.loads(outcome.out)["findings"]


def kinds(segkit, *arguments):
    return Counter(each["kind"] for each in findings(segkit, *arguments))


def test_planted_errors_come_first(segkit, planted):
    made, _, file, results = planted
    found = findings(segkit, file, "--predictions", results, "--confidence", 0)
    first = len(made.planted["annotations"]) // 5
    assert sum(rank is not None and rank <= first for rank in ranks(found, made)) >= 0.8 * len(made.errors)
    by_kind = Counter(kind for kind, *_ in made.errors)
    sure = Counter(each["kind"] for each in found if (each["confidence"] or 0) >= 0.5)
    for kind in ("missing", "wrong category", "loose outline", "doubled"):
        assert sure[kind] >= 0.8 * by_kind[kind], kind
    confidences = [each["confidence"] for each in found if each["confidence"] is not None]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 < each <= 1 for each in confidences)


def test_a_clean_set_stays_quiet(segkit, planted):
    _, file, _, results = planted
    assert segkit("check", file, "--predictions", results, "--strict").code == 0
    assert max(each["confidence"] for each in findings(segkit, file, "--predictions", results, "--confidence", 0)) < 0.1


def test_two_objects_in_one_and_a_spurious_one(segkit, planted, tmp_path):
    made = planted[0]
    clean = json.loads(json.dumps(made.clean))
    one = next(a for a in clean["annotations"] if a["category_id"] == 2)
    x, y, w, h = one["bbox"]
    left, right = (x, x + w / 2 - 1), (x + w / 2 + 1, x + w)
    halves = [[[x1, y, x2, y, x2, y + h, x1, y + h]] for x1, x2 in (left, right)]
    exact = [r for r in made.results if (r["image_id"], r["bbox"]) != (one["image_id"], one["bbox"])]
    exact += [{"image_id": one["image_id"], "category_id": 2, "segmentation": half, "score": 0.9} for half in halves]
    other = clean["annotations"][-1]
    exact = [{k: r[k] for k in ("image_id", "category_id", "segmentation", "score")} for r in exact
             if (r["image_id"], r["segmentation"]) != (other["image_id"], other["segmentation"])]  # fmt: skip
    for name, content in (("truth.json", clean), ("found.json", exact)):
        (tmp_path / name).write_text(json.dumps(content))
    folder = planted[1].parent
    found = findings(segkit, tmp_path / "truth.json", "--predictions", tmp_path / "found.json", "--images-dir", folder)
    assert {(each["kind"], each["annotation"]) for each in found} == {
        ("two objects in one", one["id"]), ("spurious", other["id"]),
    }  # fmt: skip


def test_facts_about_outlines(segkit, tmp_path):
    bow = shape("box", [[10, 50], [40, 80], [40, 50], [10, 80]])
    squares = [square(10 + 30 * n, 10, 20) for n in range(4)]
    write(tmp_path / "in/a.json", [*squares, bow])
    write(tmp_path / "in/b.json", [*squares, square(10.2, 10.2, 20, "other"), square(190, 60, 30)])
    write(tmp_path / "in/c.json", [*squares, shape("box", [[5, 100], [60, 100], [60, 100.9], [5, 100.9]])])
    found = findings(segkit, tmp_path / "in")
    assert {(each["kind"], each["image"], each["annotation"]) for each in found if each["image"]} == {
        ("self-crossing", "a.png", 4), ("duplicate", "b.png", 4), ("outside", "b.png", 5), ("sliver", "c.png", 4),
    }  # fmt: skip
    assert [each["why"] for each in found if each["kind"] == "outside"] == ["reaches 20 pixels out of the picture"]
    assert segkit("check", tmp_path / "in", "--strict").code == 3


@pytest.mark.parametrize(
    ("points", "where"),
    [
        ([[0, 0], [10, 10], [10, 0], [0, 10]], (5, 5)),
        ([[0, 0], [10, 0], [10, 10], [0, 10]], None),
        ([[0, 0], [10, 0], [5, 5], [10, 10], [0, 10], [5, 5]], None),  # touches itself in a point
        ([[0, 0], [9, 0], [9, 9], [0, 9], [0, 0], [3, 3], [6, 3], [6, 6], [3, 6], [3, 3]], None),  # a cut to a hole
        ([[0, 0], [0, 0], [10, 0], [10, 10]], None),
    ],
)
def test_edges_that_cross(points, where):
    assert crossing(np.array(points, float)) == where


def test_facts_about_a_whole_dataset(segkit, tmp_path):
    rng = np.random.default_rng(0)
    for split, names in (("train", "abcd"), ("val", "wxyz")):
        for name in names:
            label = "Cell" if name in "bc" else "cell"
            path = write(tmp_path / split / f"{name}.json", [square(20, 20, 40, label)], picture=False)
            Image.fromarray(rng.integers(0, 255, (120, 200, 3), np.uint8)).save(path.with_suffix(".png"))
    with Image.open(tmp_path / "train/a.png") as picture:
        lighter = np.asarray(picture).astype(int) + 6
    Image.fromarray(lighter.clip(0, 255).astype(np.uint8)).save(tmp_path / "val/w.png")
    (tmp_path / "val/x.png").write_bytes((tmp_path / "train/b.png").read_bytes())
    tifffile.imwrite(tmp_path / "val/y.png", rng.integers(0, 60000, (120, 200), np.uint16))
    (tmp_path / "val/z.png").write_bytes(b"not a picture")
    write(tmp_path / "train/e.json", [square(20, 20, 3, "small") for _ in range(1)])
    found = {(each["kind"], each["image"]): each["why"] for each in findings(segkit, tmp_path)}
    assert "'cell' (5), 'Cell' (2) differ by capital letters" in found.pop(("similar names", None))
    assert "val has no instance of 'Cell' (2 in all), 'small' (1 in all)" in found.pop(("missing in split", None))
    assert found.pop(("near-duplicate pictures in two splits", "val/w.png")).startswith(
        "in val, looks like train/a.png"
    )
    assert "is the same file as train/b.png" in found.pop(("same picture in two splits", "val/x.png"))
    assert found.pop(("odd depth", "val/y.png")).startswith("has more than 8 bits")
    assert "not an image" in found.pop(("unreadable", "val/z.json"))
    assert not found


def test_instances_that_are_too_small_at_the_size_of_the_model(segkit, tmp_path):
    write(tmp_path / "a.json", [square(20 * n, 10, 12) for n in range(5)], size=(120, 200))
    assert kinds(segkit, tmp_path) == {}
    small = findings(segkit, tmp_path, "--size", 64)
    assert [each["kind"] for each in small] == ["too small for the model"]
    assert small[0]["why"].startswith("5 of 5 instances of 'box' cover less than 8x8 pixels at size 64")


def test_pages_and_fixes(segkit, planted, tmp_path):
    """The page is looked at in a browser; the files are opened by LabelMe, and keep what a person drew."""
    _, _, file, results = planted
    outcome = segkit("check", file, "--predictions", results, "--out", tmp_path / "out", "--fix", tmp_path / "fix")
    assert outcome.code == 0, outcome.err
    document = json.loads((tmp_path / "out/check.json").read_text(encoding="utf-8"))
    named = sorted({each["image"].replace(".png", ".json") for each in document["findings"] if each["image"]})
    assert sorted(path.name for path in (tmp_path / "fix").iterdir()) == named
    opened = open_in_labelme(*(tmp_path / "fix" / name for name in named))
    assert all(each["has_picture"] and each["flags"]["suspect"] for each in opened)
    flags = Counter(
        flag for name in named for shape in json.loads((tmp_path / "fix" / name).read_text())["shapes"]
        for flag in shape["flags"]
    )  # fmt: skip
    assert flags["proposed"] == flags["missing"] == document["counts"]["missing"]
    assert flags["wrong category"] == document["counts"]["wrong category"]
    page = (tmp_path / "out/check.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 2 * sum(document["counts"].values()) - document["counts"].get("duplicate", 0)
    again = segkit("check", file, "--fix", tmp_path / "fix")
    assert again.code == 1
    assert "has files already" in again.err
    pixels, console = render(tmp_path / "out/check.html", tmp_path / "page.png", height=1600)
    assert not console
    blue = (np.abs(pixels.astype(int) - (30, 144, 255)) < 30).all(axis=2)  # outlines of predictions
    assert blue.sum() > 500


def test_a_labelme_file_keeps_what_a_person_drew(segkit, tmp_path):
    circle = shape("a", [[100, 60], [110, 60]], "circle", description="mine", flags={"done": True}, other=[1])
    line = shape("cut", [[1, 1], [9, 9]], "line")
    path = write(tmp_path / "in/a.json", [line, circle, shape("a", [[1, 50], [30, 80], [30, 50], [1, 80]], group_id=3)])
    assert segkit("check", tmp_path / "in", "--fix", tmp_path / "fix").code == 0
    before, after = (json.loads(each.read_text(encoding="utf-8")) for each in (path, tmp_path / "fix/a.json"))
    assert after["shapes"][1] == before["shapes"][1]
    assert after["shapes"][0]["points"] == before["shapes"][0]["points"]
    assert after["shapes"][2]["flags"] == {"suspect": True, "self-crossing": True}
    assert after["shapes"][2]["description"].startswith("self-crossing: its outline crosses itself")
    assert open_in_labelme(tmp_path / "fix/a.json")[0]["has_picture"]


def test_nothing_is_written_into_what_is_checked(segkit, tmp_path):
    write(tmp_path / "in/a.json", [square(5, 5, 30)])
    for flag in ("--fix", "--out"):
        outcome = segkit("check", tmp_path / "in", flag, tmp_path / "in/new")
        assert outcome.code == 1
        assert f"{flag} {tmp_path / 'in/new'}: is inside of" in outcome.err
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["a.json", "a.png"]


def test_results_of_unknown_images_or_categories_are_refused(segkit, planted, tmp_path):
    _, file, _, _ = planted
    for content, message in (
        ([{"image_id": 999, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 1}], "none of its image ids"),
        ([{"image_id": 1, "category_id": 77, "bbox": [1, 1, 5, 5], "score": 1}], "category 77 is not in the data"),
        ({"annotations": []}, "not a COCO results file"),
        ([{"image_id": 1, "category_id": 1, "segmentation": {"size": [5, 5], "counts": "abc"}, "score": 1}], "has 5x5"),
    ):
        (tmp_path / "r.json").write_text(json.dumps(content))
        outcome = segkit("check", file, "--predictions", tmp_path / "r.json")
        assert outcome.code == 1
        assert message in outcome.err
        assert "Traceback" not in outcome.err


def test_without_a_model_no_torch_is_loaded(tmp_path):
    write(tmp_path / "a.json", [square(5, 5, 30)])
    code = (
        "import sys; from segkit.cli import main; code = main(['check', sys.argv[1], '--quiet']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 0


@pytest.fixture
def discs(tmp_path, monkeypatch):
    """A folder of drawn discs with LabelMe files, and a model that finds discs exactly."""
    from drawn_discs import disc_model, draw_discs, save

    rng = np.random.default_rng(0)
    for n in range(12):
        some = [
            (20 + 40 * k, 30 + 40 * int(rng.integers(2)), 10 + int(rng.integers(4)), 1 + (n + k) % 2) for k in range(4)
        ]
        pixels = draw_discs(120, 200, some)
        shapes = [shape("ab"[label - 1], [[x, y], [x + radius, y]], "circle") for x, y, radius, label in some]
        write(tmp_path / f"in/{n}.json", shapes[n == 3 :], picture=False)
        save(tmp_path / f"in/{n}.png", pixels)
    model = disc_model(tmp_path / "m.pt")
    monkeypatch.setattr("segkit.review.predicted.load", lambda *_, **__: model)
    return tmp_path


def test_a_model_finds_what_is_missing(segkit, discs):
    outcome = segkit("check", discs / "in", "--model", discs / "m.pt", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert [(each["kind"], each["image"], each["category"]) for each in document["findings"]] == [
        ("missing", "3.png", "b")
    ]
    assert document["findings"][0]["out_of_fold"] is None
    assert "it is not known which images their model has learnt from" in document["predictions"]["out_of_fold"]
    path = discs / "in/5.json"
    path.write_text(path.read_text().replace('"a"', '"c"'))
    outcome = segkit("check", discs / "in", "--model", discs / "m.pt", "--json")
    assert "the model does not know 'c'" in outcome.err
    swapped = [each for each in json.loads(outcome.out)["findings"] if each["image"] == "5.png"]
    assert {(each["kind"], each["category"]) for each in swapped} == {("wrong category", "c")}


def test_results_without_any_result_say_nothing_of_the_annotations(segkit, planted, tmp_path):
    (tmp_path / "r.json").write_text("[]")
    outcome = segkit("check", planted[1], "--predictions", tmp_path / "r.json", "--confidence", 0, "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["findings"] == []
    assert any("too few to judge them by" in note for note in document["notes"])


@pytest.mark.slow
def test_planted_errors_come_first_with_out_of_fold_predictions_of_trained_models(segkit, planted, tmp_path):
    """Each picture is predicted by the run that has not seen it; without one of the runs the check says so."""
    pytest.importorskip(PACKAGED["efficientnet_lite0"][0])
    made, _, file, _ = planted
    options = ("--images-dir", file.parent, "--val", 0, "--folds", 2, "--out", tmp_path / "data")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/planted.json").write_bytes(file.read_bytes())
    assert segkit("convert", tmp_path / "in", *options).code == 0
    for fold in (1, 2):
        outcome = segkit(
            "train", tmp_path / "data", "--fold", fold, "--model", "unet", "--backbone", "efficientnet_lite0",
            "--weights", "imagenet", "--size", 96, "--batch", 4, "--steps", 250, "--lr", 0.002, "--optimizer", "adamw",
            "--eval-every", 10000, "--device", "cpu", "--out", tmp_path / "runs", "--name", f"f{fold}",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        checked = segkit(
            "check", tmp_path / "in", "--images-dir", file.parent, "--model", tmp_path / "runs/f1", "--confidence", 0,
            "--json",
        )  # fmt: skip
        assert checked.code == 0, checked.err
        document = json.loads(checked.out)
        seen = {each["out_of_fold"] for each in document["findings"] if each["confidence"] is not None}
        assert seen == ({True, False} if fold == 1 else {True})
        assert ("has no run of fold 2" in checked.err) == (fold == 1)
    assert document["predictions"]["out_of_fold"] == "out of fold: the model has learnt from none of these images"
    first = len(made.planted["annotations"]) // 5
    assert sum(rank is not None and rank <= first for rank in ranks(document["findings"], made)) >= 0.8 * len(
        made.errors
    )
