"""What convert says about a SRC that it does not read: what it is, and what to do, in one line and a hint."""

import json

import pytest
from labelme_files import square, write
from mask_folders import mask, picture

FILES = [
    ("e.zip", "a ZIP: unpack it first"),
    ("e.tar.gz", "a GZIP archive: unpack it first"),
    ("e.7z", "a 7z archive: unpack it first"),
    ("a.png", "a picture: it has no annotations"),
    ("a.npy", "a NumPy file"),
    ("a.mat", "a MATLAB file"),
    ("a.txt", "a text file"),
    ("a.xml", "an XML file, but not one of CVAT for images"),
    ("a.csv", "not a table of pictures and masks"),
    ("a.h5", "an HDF5 file"),
]


@pytest.mark.parametrize(("name", "message"), FILES)
def test_files_that_are_not_read(segkit, here, name, message):
    (here / name).write_bytes(b"<annotation></annotation>")
    outcome = segkit("convert", name)
    assert (outcome.code, message in outcome.err, "hint:" in outcome.err) == (1, True, True), outcome.err
    assert len(outcome.err.splitlines()) <= 4
    assert not (here / "dataset").exists()


DOCUMENTS = [
    ({"info": {}, "categories": {}, "items": []}, "a datumaro file"),
    ({"description": "", "tags": [], "size": {}, "objects": []}, "a Supervisely file"),
    ({"type": "FeatureCollection", "features": []}, "a GeoJSON file"),
    ([{"image": "a.png", "annotations": []}], "a Create ML file"),
]


@pytest.mark.parametrize(("top", "message"), DOCUMENTS)
def test_formats_that_are_known_by_name(segkit, here, top, message):
    (here / "in").mkdir()
    (here / "in/a.json").write_text(json.dumps(top))
    for source in ("in", "in/a.json"):
        outcome = segkit("convert", source)
        assert (outcome.code, message in outcome.err, "hint:" in outcome.err) == (1, True, True), outcome.err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "it has no files"),
        (["a.png", "b.png"], "it has 2 .png"),
        (["a.zip"], "unpack the .zip files first"),
        (["a.npy", "b.png"], "_seg.npy"),
        (["a.xml"], "--from voc"),
        (["a.csv"], "TABLE.csv"),
        (["notes.txt"], "--from yolo"),
    ],
)
def test_a_folder_without_annotations_says_what_it_has(segkit, here, names, message):
    (here / "in").mkdir()
    for name in names:
        (here / "in" / name).write_bytes(b"hello")
    outcome = segkit("convert", "in")
    assert (outcome.code, message in outcome.err) == (1, True), outcome.err


def test_data_yaml_means_its_folder(segkit, here):
    picture(here / "in/data/images/a.png")
    (here / "in/data/labels").mkdir()
    (here / "in/data/labels/a.txt").write_text("0 0.25 0.25 0.75 0.25 0.75 0.75\n")
    (here / "in/my.yaml").write_text("path: data\ntrain: images\nnames: [crack]\n")
    for source in ("in/my.yaml", "in/data"):
        outcome = segkit("convert", source, "--val", 0, "--force")
        assert outcome.code == 0, outcome.err
    (here / "in/data/data.yaml").write_text("train: images\nnames: [crack]\n")
    outcome = segkit("convert", "in/data/data.yaml", "--val", 0, "--force", "--json")
    assert json.loads(outcome.out)["categories"] == {"crack": 1}
    (here / "in/data/data.yaml").write_text("- nothing\n")
    assert "not a data.yaml" in segkit("convert", "in/data/data.yaml", "--force").err


@pytest.mark.parametrize(
    "kind", ["coco", "yolo", "voc", "idmask", "semantic", "via", "cvat", "labelstudio", "isat", "csv"]
)
def test_a_folder_of_another_format_is_one_line(segkit, here, kind):
    (here / "in").mkdir()
    (here / "in/a.json").write_text('{"shapes": [], "imagePath": "a.png"}')
    outcome = segkit("convert", "in", "--from", kind)
    assert outcome.code == 1
    assert len([line for line in outcome.err.splitlines() if line.startswith("error:")]) == 1
    assert not (here / "dataset").exists()


def test_options_for_another_format_are_refused(segkit, here):
    (here / "in").mkdir()
    (here / "in/a.json").write_text('{"shapes": []}')
    (here / "c.txt").write_text("crack,1,2,3\n")
    assert segkit("convert", "in", "--colours", "c.txt").code == 1
    picture(here / "m/images/a.png")
    mask(here / "m/masks/a.png", (1, 20))
    assert segkit("convert", "m", "--masks", "semantic").code == 1


@pytest.mark.parametrize(
    "option",
    [("--line-width", 3), ("--point-radius", 2), ("--hole-label", "h"), ("--drop-flag", "f"), ("--raster", "labelme")],
)
def test_an_option_for_drawn_shapes_is_refused_where_there_are_none(segkit, tmp_path, option):
    write(tmp_path / "in/a.json", [square(5, 5, 20)])
    assert segkit("convert", tmp_path / "in", "--out", tmp_path / "coco", *option).code == 0
    done = segkit("convert", tmp_path / "coco", "--out", tmp_path / "out", *option)
    assert done.code == 1
    assert f"{option[0]} has no effect" in done.err
    assert not (tmp_path / "out").exists()
