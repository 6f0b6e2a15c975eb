"""The command convert: the dataset folder, the report, and errors."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from labelme_files import square, write
from PIL import Image
from pycocotools.coco import COCO

from segkit.conversion.split import SplitImage, assign_splits


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def tree(folder):
    return {
        str(p.relative_to(folder)): p.readlink() if p.is_symlink() else p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def test_a_folder_becomes_a_dataset(segkit, here, parts):
    outcome = segkit("convert", parts)
    assert outcome.code == 0
    assert outcome.out == ""
    assert "nothing was lost" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("    segkit train ")
    train, val = load(here / "dataset/train.json"), load(here / "dataset/val.json")
    assert len(train["images"]) + len(val["images"]) == 12
    assert train["categories"] == val["categories"]
    assert [c["id"] for c in train["categories"]] == [1, 2, 3, 4]
    for split in (train, val):
        assert [i["id"] for i in split["images"]] == list(range(1, len(split["images"]) + 1))
        assert [a["id"] for a in split["annotations"]] == list(range(1, len(split["annotations"]) + 1))
        for image in split["images"]:
            with Image.open(here / "dataset/images" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
        for annotation in split["annotations"]:
            assert annotation["iscrowd"] == 0
            assert min(annotation["bbox"][2:]) > 0


def test_area_and_bbox_are_those_of_the_segmentation(here, dataset, capsys):
    coco = COCO(str(dataset / "train.json"))
    for annotation in coco.dataset["annotations"]:
        mask = coco.annToMask(annotation)
        ys, xs = np.nonzero(mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]


def test_images_without_instances_are_kept(segkit, here):
    write(here / "in/a.json", [])
    write(here / "in/b.json", [square(10, 10, 20)])
    assert segkit("convert", "in", "--val", 0).code == 0
    assert len(load(here / "dataset/train.json")["images"]) == 2


def test_the_same_input_gives_the_same_bytes(segkit, here, parts):
    segkit("convert", parts, "--out", "one")
    segkit("convert", parts, "--out", "two")
    one, two = tree(here / "one"), tree(here / "two")
    assert one == two
    segkit("convert", parts, "--out", "three", "--workers", 2)
    assert tree(here / "three") == one


def test_equal_file_names_in_two_folders_stay_different_images(segkit, here):
    write(here / "in/x/a.json", [square(10, 10, 20)], size=(50, 60))
    write(here / "in/y/a.json", [square(10, 10, 20)], size=(70, 80))
    segkit("convert", "in", "--val", 0, "--images", "copy")
    images = load(here / "dataset/train.json")["images"]
    assert [(i["file_name"], i["height"]) for i in images] == [("x/a.png", 50), ("y/a.png", 70)]


def test_unicode_names_are_unchanged(segkit, here):
    write(here / "in/größe 照片.json", [square(10, 10, 20, "Zelle — 细胞")])
    segkit("convert", "in", "--val", 0)
    train = load(here / "dataset/train.json")
    assert train["images"][0]["file_name"] == "größe 照片.png"
    assert train["categories"] == [{"id": 1, "name": "Zelle — 细胞"}]


@pytest.mark.parametrize("how", ["link", "copy", "reference"])
def test_images_are_linked_copied_or_referenced(segkit, here, how):
    write(here / "in/a.json", [square(10, 10, 20)])
    segkit("convert", "in", "--val", 0, "--images", how)
    (image,) = load(here / "dataset/train.json")["images"]
    placed = here / "dataset/images" / image["file_name"]
    assert placed.resolve().read_bytes() == (here / "in/a.png").read_bytes()
    assert placed.is_symlink() == (how == "link")
    assert (here / "dataset/images/a.png").exists() == (how != "reference")


def test_exif_rotated_photos_are_written_upright(segkit, here):
    from test_labelme import exif

    path = write(here / "in/a.json", [square(10, 10, 20)], size=(200, 120), picture=False, imagePath="a.jpg")
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[:40, :40] = 255
    Image.fromarray(pixels).save(path.with_suffix(".jpg"), exif=exif(6), quality=95)
    segkit("convert", "in", "--val", 0)
    with Image.open(here / "dataset/images/a.jpg") as picture:
        assert picture.size == (120, 200)
        assert picture.getexif().get(274) is None
        assert np.asarray(picture)[10, 110].min() > 200  # the bright corner has turned to the upper right


def test_a_truncated_rotated_photo_does_not_affect_other_images(segkit, here):
    from test_labelme import exif

    write(here / "in/b.json", [square(10, 10, 20)])
    path = write(here / "in/a.json", [square(10, 10, 20)], size=(200, 120), picture=False, imagePath="a.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (120, 200, 3), np.uint8)
    Image.fromarray(noise).save(path.with_suffix(".jpg"), exif=exif(6))
    path.with_suffix(".jpg").write_bytes(path.with_suffix(".jpg").read_bytes()[:5000])
    outcome = segkit("convert", "in", "--val", 0, "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["images"] == 1
    assert report["findings"][0]["why"].startswith("a.jpg: cannot be decoded")


def test_labels_txt_gives_the_order_of_categories(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "b"), square(50, 10, 20, "a")])
    (here / "labels.txt").write_text("__ignore__\n_background_\nb\na\nc\n")
    assert segkit("convert", "in", "--val", 0, "--labels", "labels.txt").code == 0
    assert [c["name"] for c in load(here / "dataset/train.json")["categories"]] == ["b", "a", "c"]


@pytest.mark.parametrize("target", ["coco", "semantic"])
def test_map_to_the_background_drops(segkit, here, target):
    write(here / "in/a.json", [square(10, 10, 20, "crack"), square(80, 10, 20, "dirt")])
    outcome = segkit("convert", "in", "--val", 0, "--map", "dirt=_background_", "--to", target, "--json")
    report = json.loads(outcome.out)
    assert report["categories"] == {"crack": 1}
    assert report["dropped"] == 1


def test_map_renames_and_drops(segkit, here):
    write(
        here / "in/a.json",
        [square(10, 10, 20, "cracks"), square(50, 10, 20, "crack"), square(80, 10, 20, "dirt")],
    )
    outcome = segkit("convert", "in", "--val", 0, "--map", "cracks=crack,dirt=", "--json")
    report = json.loads(outcome.out)
    assert report["categories"] == {"crack": 2}
    assert report["dropped"] == 1


def test_the_report_has_a_row_for_every_loss(segkit, here):
    write(
        here / "in/a.json",
        [square(10, 10, 20), {"label": "l", "points": [[1, 1], [9, 9]], "shape_type": "line"}],
    )
    (here / "in/b.json").write_text('{"shapes": [')
    outcome = segkit("convert", "in", "--val", 0)
    assert outcome.code == 0
    rows = load(here / "dataset/report.json")["findings"]
    assert [(r["file"], r["shape"], r["action"]) for r in rows] == [
        ("a.json", 1, "left out"),
        ("b.json", None, "left out"),
    ]
    assert "not valid JSON: ends in the middle" in " ".join(outcome.err.split())
    assert segkit("convert", "in", "--val", 0, "--force", "--strict").code == 3


def test_dry_run_writes_nothing(segkit, here, parts):
    outcome = segkit("convert", parts, "--dry-run", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["images"] == 12
    assert list(here.iterdir()) == []


def test_paths_on_standard_input(here, parts):
    paths = "\n".join(str(p) for p in sorted(parts.glob("*.json"))[:3])
    done = subprocess.run(
        [sys.executable, "-m", "segkit", "convert", "-", "--val", "0", "--json"],
        input=paths, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 3


def test_paths_of_equal_names_on_standard_input(here):
    for folder in ("x", "y"):
        write(here / f"in/{folder}/a.json", [square(10, 10, 20)])
    done = subprocess.run(
        [sys.executable, "-m", "segkit", "convert", "-", "--val", "0", "--json"],
        input="in/x/a.json\nin/y/a.json\nin/x/a.json\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 2
    assert [i["file_name"] for i in load(here / "dataset/train.json")["images"]] == ["x/a.png", "y/a.png"]


def test_folders_named_after_splits_are_the_splits(segkit, here):
    for name in ("train", "val"):
        for number in range(3):
            write(here / f"in/{name}/{name}{number}.json", [square(10, 10, 20)])
    segkit("convert", "in")
    assert {i["file_name"][:3] for i in load(here / "dataset/val.json")["images"]} == {"val"}


def test_class_id_pngs_are_converted(segkit, here):
    (here / "in/train").mkdir(parents=True)
    (here / "in/trainannot").mkdir()
    (here / "in/classes.txt").write_text("0 Sky\n1 Road\n2 Void (ignore)\n")
    ids = np.repeat([[0], [1], [2]], 20, axis=0).repeat(30, axis=1).astype(np.uint8)
    Image.fromarray(np.zeros((60, 30, 3), np.uint8)).save(here / "in/train/a.png")
    Image.fromarray(ids).save(here / "in/trainannot/a.png")
    assert segkit("convert", "in", "--val", 0).code == 0
    train = load(here / "dataset/train.json")
    assert [c["name"] for c in train["categories"]] == ["Sky", "Road"]
    assert [a["area"] for a in train["annotations"]] == [600, 600]
    assert train["info"] == {"uncovered": "ignore"}


def test_converting_coco_to_coco_keeps_annotations(segkit, here, dataset):
    assert segkit("convert", dataset / "train.json", "--out", "again", "--val", 0).code == 0
    before, after = load(dataset / "train.json"), load(here / "again/train.json")
    assert before["annotations"] == after["annotations"]
    assert before["categories"] == after["categories"]


ERRORS = [
    (["nowhere"], "error: nowhere: no such file or folder"),
    (["empty"], "error: empty: nothing to convert: it has no files\nhint: name the folder that holds the annotations"),
    (["bad"], "error: bad: nothing could be converted: b.json: not valid JSON: ends in the middle"),
    (
        ["in", "--labels", "l.txt"],
        "error: l.txt: does not list 1 of the labels used: 'box' (1)\nhint: add them, rename",
    ),
    (["in", "--images-dir", "nowhere"], "error: nowhere: no such folder (--images-dir)"),
    (
        ["in", "--out", "taken"],
        "error: taken: has images that segkit did not make\nhint: choose another --out",
    ),
    (["in", "--out", "l.txt"], "error: l.txt: is a file\nhint: choose another folder with --out"),
    (
        ["in", "--group-by", "zz"],
        "error: --group-by 'zz': matches none of 1 paths\nhint: it is a regular expression for",
    ),
    (["in", "--val", "0.7", "--test", "0.7"], "error: --val 0.7 and --test 0.7 are more than all images"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors_are_one_line_and_a_hint(segkit, here, arguments, message):
    (here / "empty").mkdir()
    (here / "taken/images").mkdir(parents=True)
    write(here / "in/a.json", [square(10, 10, 20)])
    (here / "bad").mkdir()
    (here / "bad/b.json").write_text('{"shapes": [')
    (here / "l.txt").write_text("other\n")
    before = tree(here)
    outcome = segkit("convert", *arguments)
    assert outcome.code == (2 if "--group-by" in arguments else 1)
    assert outcome.err.startswith(message)
    assert "Traceback" not in outcome.err
    assert tree(here) == before


def test_a_dataset_is_replaced_only_when_asked(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20)])
    segkit("convert", "in")
    (here / "dataset/notes.txt").write_text("mine")
    outcome = segkit("convert", "in")
    assert outcome.code == 1
    assert outcome.err == "error: dataset: holds a dataset\nhint: replace it with --force, or choose another --out\n"
    write(here / "in/b.json", [square(10, 10, 20)])
    assert segkit("convert", "in", "--force", "--val", 0).code == 0
    assert len(load(here / "dataset/train.json")["images"]) == 2
    assert not (here / "dataset/val.json").exists()
    assert (here / "dataset/notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(segkit, here, parts):
    (here / "locked").mkdir(mode=0o500)
    outcome = segkit("convert", parts, "--out", "locked/dataset")
    assert outcome.code == 1
    assert outcome.err.startswith("error: locked/dataset: no permission to write there")


def test_an_interrupted_conversion_leaves_nothing_behind(here):
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    write(here / "in/a000.json", [square(10, 10, 20)], size=(1500, 1500))
    Image.fromarray(pixels).save(here / "in/a000.png")
    for number in range(1, 60):
        write(
            here / f"in/a{number:03d}.json",
            [square(10, 10, 20)],
            size=(1400, 1400),
            picture=False,
            imagePath="a000.png",
        )
    process = subprocess.Popen(
        [sys.executable, "-m", "segkit", "convert", "in"],
        stderr=subprocess.PIPE,
        text=True,
        # Shells start background jobs, such as a CI's, deaf to Ctrl-C; this one must hear it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not list(here.glob(".dataset.writing")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("error: interrupted\n")
    assert [p.name for p in here.iterdir()] == ["in"]


def images(count, labels=("a",)):
    return [SplitImage(f"{n // 10}/{n:03d}.json", (labels[n % len(labels)],)) for n in range(count)]


def test_splits_have_the_requested_fractions_and_every_category():
    some = images(100, ("a", "b", "c", "d", "rare") + ("a",) * 15)
    splits = assign_splits(some, val=0.2, test=0.1, group_by=None, seed=0)
    assert Counter(splits) == {"train": 70, "val": 20, "test": 10}
    for split in ("train", "val"):
        assert {i.labels[0] for i, s in zip(some, splits, strict=True) if s == split} == {
            "a",
            "b",
            "c",
            "d",
            "rare",
        }


def test_splits_do_not_depend_on_the_order_and_little_on_new_images():
    some = images(100)
    before = dict(zip((i.key for i in some), assign_splits(some, val=0.2, test=0, group_by=None, seed=0), strict=True))
    turned = some[::-1]
    assert before == dict(
        zip(
            (i.key for i in turned),
            assign_splits(turned, val=0.2, test=0, group_by=None, seed=0),
            strict=True,
        )
    )
    more = images(110)
    after = dict(zip((i.key for i in more), assign_splits(more, val=0.2, test=0, group_by=None, seed=0), strict=True))
    assert sum(before[key] != after[key] for key in before) <= 2


@pytest.mark.parametrize("group_by", ["dir", r"^(\d+)/"])
def test_groups_stay_in_one_split(group_by):
    some = images(100)
    splits = assign_splits(some, val=0.3, test=0.1, group_by=group_by, seed=1)
    by_group = {}
    for image, split in zip(some, splits, strict=True):
        by_group.setdefault(image.key[0], set()).add(split)
    assert all(len(each) == 1 for each in by_group.values())
    assert set(splits) == {"train", "val", "test"}
