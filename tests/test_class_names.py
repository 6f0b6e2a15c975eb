"""Label images: every class keeps its name, and no class is taken for background or for nothing."""

import json

import numpy as np
import pytest
from labelme_files import square, write
from mask_folders import areas, mask, picture, whys
from PIL import Image


def black_and_white(folder, *, value=255, count=3, suffix=".png", mode="L"):
    for number in range(count):
        picture(folder / f"images/c{number}.jpg")
        mask(folder / f"masks/c{number}{suffix}", (value, 20 + number), mode=mode)


@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_one_value_are_background_and_a_class(segkit, here, value):
    black_and_white(here / "in", value=value)
    outcome = segkit("convert", "in", "--val", 0, "--strict")
    assert outcome.code == 0, outcome.err
    assert areas(here / "dataset") == {"object": [200, 210, 220]}
    ((action, why),) = whys(here / "dataset")
    assert action == "noted"
    assert f"{value} as 'object'" in why
    assert "classes.txt" in outcome.err


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA", "P"])
def test_black_and_white_masks_of_any_mode(segkit, here, mode):
    black_and_white(here / "in", mode=mode)
    assert segkit("convert", "in", "--val", 0, "--strict").code == 0
    assert areas(here / "dataset") == {"object": [200, 210, 220]}


def test_a_mask_in_the_transparency(segkit, here):
    picture(here / "in/images/a.jpg")
    alpha = mask(here / "in/masks/a.png", (255, 20))
    Image.fromarray(np.dstack([np.full((48, 64, 3), 255, np.uint8), alpha])).save(here / "in/masks/a.png")
    assert segkit("convert", "in", "--val", 0).code == 0
    assert areas(here / "dataset") == {"object": [200]}


def test_grey_edges_of_jpeg_masks_are_made_sharp_and_told(segkit, here):
    black_and_white(here / "in", suffix=".jpg")
    outcome = segkit("convert", "in", "--val", 0, "--strict")
    assert outcome.code == 3, outcome.err
    assert areas(here / "dataset")["object"] == pytest.approx([200, 210, 220], abs=12)
    assert {action for action, _ in whys(here / "dataset")} == {"noted", "changed"}


def test_numbers_that_jpeg_blurred_are_refused(segkit, here):
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.jpg", (60, 20), (120, 21))
    for kind in ("semantic", "idmask"):
        outcome = segkit("convert", "in", "--from", kind, "--val", 0)
        assert (outcome.code, "JPEG" in outcome.err) == (1, True)


@pytest.mark.parametrize("text", ["crack", "background\ncrack", "0 _background_\n1 crack", "crack:255,255,255::"])
def test_the_only_class_in_a_list_is_the_one_in_the_masks(segkit, here, text):
    black_and_white(here / "in")
    (here / "in/classes.txt").write_text(text)
    assert segkit("convert", "in", "--val", 0, "--strict").code == 0
    assert areas(here / "dataset")["crack"] == [200, 210, 220]
    assert set(areas(here / "dataset")) <= {"crack", "background"}


def test_labels_name_the_class_of_masks(segkit, here):
    black_and_white(here / "in")
    (here / "names.txt").write_text("__ignore__\n_background_\ncrack\n")
    assert segkit("convert", "in", "--val", 0, "--labels", "names.txt").code == 0
    assert areas(here / "dataset") == {"crack": [200, 210, 220]}


@pytest.mark.parametrize(
    "text", ["0 _background_\n1 crack\n2 hole\n", "_background_:0,0,0::\ncrack:9,0,0::\nhole:8,0,0::"]
)
def test_labels_with_numbers_or_colours_name_the_classes_of_masks(segkit, here, text):
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.png", (1, 20), (2, 21))
    (here / "names.txt").write_text(text)
    outcome = segkit("convert", "in", "--from", "semantic", "--val", 0, "--labels", "names.txt")
    assert outcome.code == 0, outcome.err
    assert areas(here / "dataset") == {"crack": [200], "hole": [210]}


def test_a_list_of_several_classes_must_say_what_255_is(segkit, here):
    black_and_white(here / "in")
    (here / "in/classes.txt").write_text("0 background\n1 crack\n2 hole\n")
    outcome = segkit("convert", "in", "--val", 0)
    assert outcome.code == 1
    assert "does not say which class 255 is (crack, hole)" in outcome.err
    assert "255 NAME" in outcome.err
    assert not (here / "dataset").exists()


def test_void_beside_a_background_is_a_class(segkit, here):
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.png", (1, 20), (2, 21), (255, 5))
    (here / "in/classes.txt").write_text("0 background\n1 void\n2 solder void\n")
    assert segkit("convert", "in", "--from", "semantic", "--val", 0, "--strict").code == 0
    found = areas(here / "dataset")
    assert (found["void"], found["solder void"], len(found)) == ([200], [210], 3)
    assert whys(here / "dataset") == {("noted", "255 is not in classes.txt: it is read as unlabelled"): 1}


@pytest.mark.parametrize("name", ["Void", "Unlabelled (ignore)", "unlabeled", "__ignore__"])
def test_unlabelled_is_what_is_called_so(segkit, here, name):
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.png", (1, 20), (2, 21))
    (here / "in/classes.txt").write_text(f"0 Sky\n1 Avoid this\n2 {name}\n")
    assert segkit("convert", "in", "--from", "semantic", "--val", 0, "--strict").code == 0
    assert areas(here / "dataset").keys() == {"Sky", "Avoid this"}
    assert json.loads((here / "dataset/train.json").read_text())["info"]["uncovered"] == "ignore"


def test_255_is_a_class_where_the_list_names_it(segkit, here):
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.png", (1, 20), (255, 21))
    (here / "in/classes.txt").write_text("0 _background_\n1 crack\n255 void\n")
    assert segkit("convert", "in", "--val", 0, "--ignore", "crowd").code == 0
    assert areas(here / "dataset") == {"crack": [200, 210]}  # the second is the crowd
    (here / "in/classes.txt").write_text("0 _background_\n1 crack\n255 hole\n")
    assert segkit("convert", "in", "--val", 0, "--force", "--strict").code == 0
    assert areas(here / "dataset") == {"crack": [200], "hole": [210]}


def test_regions_to_ignore_survive_label_images(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "a"), square(50, 10, 20, "__ignore__")], size=(40, 80))
    assert segkit("convert", "in", "--to", "semantic", "--val", 0, "--out", "s").code == 0
    assert segkit("convert", "s", "--to", "semantic", "--val", 0, "--out", "t", "--strict").code == 0
    (first,), (second,) = (sorted((here / out).rglob("*annot/**/*.png")) for out in ("s", "t"))
    assert (np.asarray(Image.open(first)) == np.asarray(Image.open(second))).all()
    assert (here / "s/classes.txt").read_bytes() == (here / "t/classes.txt").read_bytes()
    assert segkit("convert", "s", "--to", "labelme", "--out", "l", "--strict").code == 0
    (back,) = (here / "l").rglob("a.json")
    assert [shape["label"] for shape in json.loads(back.read_text())["shapes"]] == ["a", "__ignore__"]
    outcome = segkit("convert", "s", "--val", 0, "--strict", "--out", "c")
    assert (outcome.code, "a region to ignore" in outcome.err) == (3, True)


@pytest.mark.parametrize("kind", ["semantic", "idmask", "voc"])
def test_masks_that_were_written_into_the_source_are_not_read_back(segkit, here, kind):
    pictures, masks = ("JPEGImages", "SegmentationClass") if kind == "voc" else ("images", "masks")
    picture(here / f"in/{pictures}/a.jpg")
    mask(here / f"in/{masks}/a.png", (1, 20), (2, 21))
    for _ in range(2):
        assert segkit("convert", "in", "--from", kind, "--to", kind, "--out", "in/out", "--force").code == 0
        assert json.loads((here / "in/out/report.json").read_text())["images"] == 1


@pytest.mark.parametrize("target", ["semantic", "voc", "idmask"])
def test_segkit_reads_what_it_writes(segkit, here, target):
    """Also classes that are called as what is no class."""
    for number, folder in enumerate(("x", "y", "x")):
        shapes = [square(10, 10, 20, "void"), square(50, 10, 20, "background"), square(50, 40, 9, "__ignore__")]
        write(here / f"in/{folder}/a b{number}.json", [*shapes, square(90, 40, 10 + number, "a")])
    for source, out in (("in", "one"), ("one", "two")):
        assert segkit("convert", source, "--to", target, "--out", out, *(("--val", 0.34) * (source == "in"))).code == 0
    one, two = (
        {p.relative_to(here / out): p for p in (here / out).rglob("*") if p.is_file()} for out in ("one", "two")
    )
    assert one.keys() == two.keys()
    differ = [name for name in one if name.name != "report.json" and one[name].read_bytes() != two[name].read_bytes()]
    assert not differ


def test_void_pixels_of_voc_survive_and_are_noted_where_they_cannot(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "a"), square(50, 10, 20, "__ignore__")], size=(40, 80))
    assert segkit("convert", "in", "--to", "voc", "--val", 0, "--out", "s").code == 0
    assert segkit("convert", "s", "--to", "voc", "--val", 0, "--out", "t", "--strict").code == 0
    for folder in ("SegmentationClass", "SegmentationObject"):
        one, two = (np.asarray(Image.open(here / out / folder / "a.png")) for out in ("s", "t"))
        assert (one == two).all()
        assert (two == 255).sum() == 400
    assert segkit("convert", "s", "--val", 0, "--strict", "--out", "c").code == 0
    assert [action for action, _ in whys(here / "c")] == ["noted"]


@pytest.mark.parametrize("shifted", [False, True])
def test_lists_without_a_background_say_how_they_are_read(segkit, here, shifted):
    """LabelMe's lists of labels have no number 0."""
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.png", (1, 20))
    (here / "in" / ("labels.txt" if shifted else "classes.txt")).write_text("crack\nhole\n")
    assert segkit("convert", "in", "--val", 0, "--strict").code == 0
    found = areas(here / "dataset")
    assert found == ({"crack": [200], "hole": []} if shifted else {"crack": [2872], "hole": [200]})
    assert any("has no background: 0 is read as" in why for _, why in whys(here / "dataset"))


def test_a_class_without_a_name_is_told(segkit, here):
    picture(here / "in/images/a.jpg")
    mask(here / "in/masks/a.png", (1, 20), (7, 21))
    (here / "in/classes.txt").write_text("0 _background_\n1 crack\n")
    assert segkit("convert", "in", "--val", 0, "--strict").code == 0
    assert areas(here / "dataset") == {"crack": [200], "class_7": [210]}
    assert whys(here / "dataset") == {("noted", "an id that is not in classes.txt"): 1}


COLOURS = {
    "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncrack:250,0,10::\nhole:0,128,1::\n",
    "class_dict.csv": "name,r,g,b\nbackground,0,0,0\ncrack,250,0,10\nhole,0,128,1\n",
    "label_colors.txt": "0 0 0 background\n250 0 10\t\tcrack\n0 128 1\thole\n",
}


def coloured(path, *, palette=False):
    ids = mask(path, (1, 20), (2, 21))
    table = np.array([[0, 0, 0], [250, 0, 10], [0, 128, 1]], np.uint8)
    image = Image.fromarray(table[ids])
    (image.quantize(8) if palette else image).save(path)


@pytest.mark.parametrize("palette", [False, True])
@pytest.mark.parametrize("file", COLOURS)
def test_colours_name_classes(segkit, here, file, palette):
    picture(here / "in/images/a.jpg")
    coloured(here / "in/masks/a.png", palette=palette)
    (here / "in" / file).write_text(COLOURS[file])
    outcome = segkit("convert", "in", "--val", 0, "--strict")
    assert outcome.code == 0, outcome.err
    found = areas(here / "dataset")
    assert (found["crack"], found["hole"], len(found)) == ([200], [210], 3)


def test_colours_from_a_file_of_the_user_and_colours_that_are_not_listed(segkit, here):
    picture(here / "in/images/a.jpg")
    coloured(here / "in/masks/a.png")
    outcome = segkit("convert", "in", "--val", 0)
    assert (outcome.code, "--colours FILE" in outcome.err) == (1, True)
    (here / "colours.txt").write_text("_background_ 0 0 0\ncrack 250 0 10\n")
    outcome = segkit("convert", "in", "--from", "semantic", "--colours", "colours.txt", "--val", 0, "--strict")
    assert outcome.code == 3
    assert areas(here / "dataset") == {"crack": [200]}
    assert ("left out", "pixels of colours that no class has in colours.txt: they are unlabelled") in whys(
        here / "dataset"
    )
    (here / "colours.txt").write_text("crack\n")
    outcome = segkit("convert", "in", "--from", "semantic", "--colours", "colours.txt", "--force")
    assert (outcome.code, "gives no colours" in outcome.err) == (1, True)


def voc(folder, *, objects=True, coded=False, stems=("a", "b")):
    for stem in stems:
        picture(folder / f"JPEGImages/{stem}.jpg")
        for name in ("SegmentationClass", "SegmentationObject") if objects else ("SegmentationClass",):
            ids = mask(folder / f"{name}/{stem}.png", (1, 20), (2, 21))
            if coded:
                table = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
                Image.fromarray(table[ids]).save(folder / f"{name}/{stem}.png")


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("objects", [True, False])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nCat:128,0,0::\nDog:0,128,0::\n"),
        ("class_names.txt", "__ignore__\n_background_\nCat\nDog\n"),
        ("classes.txt", "Cat\nDog\n"),
        ("labels.txt", "0 background\n1 Cat\n2 Dog\n"),
    ],
)
def test_lists_beside_voc_folders_name_the_classes(segkit, here, file, text, objects, coded):
    voc(here / "in", objects=objects, coded=coded)
    (here / "in" / file).write_text(text)
    outcome = segkit("convert", "in", "--val", 0, "--strict")
    assert outcome.code == 0, outcome.err
    assert areas(here / "dataset") == {"Cat": [200, 200], "Dog": [210, 210]}


def test_colours_of_the_user_for_voc_folders(segkit, here):
    voc(here / "in", coded=True)
    (here / "c.txt").write_text("Dog 0 128 0\nCat 128 0 0\nbackground 0 0 0\n")
    assert segkit("convert", "in", "--val", 0, "--strict", "--colours", "c.txt").code == 0
    assert areas(here / "dataset") == {"Dog": [210, 210], "Cat": [200, 200]}


def test_the_names_of_voc_are_for_voc(segkit, here):
    voc(here / "in")
    assert segkit("convert", "in", "--val", 0).code == 0
    assert areas(here / "dataset") == {"class_1": [200, 200], "class_2": [210, 210]}
    assert any("no file names the classes" in why for _, why in whys(here / "dataset"))
    voc(here / "real", stems=("2007_000032", "2007_000039"))
    assert segkit("convert", "real", "--val", 0, "--force").code == 0
    assert areas(here / "dataset") == {"aeroplane": [200, 200], "bicycle": [210, 210]}


def test_names_in_xml_files_count_where_no_list_has_them(segkit, here):
    write(here / "in/a.json", [square(10, 10, 20, "scratch"), square(50, 10, 10, "dent")])
    assert segkit("convert", "in", "--to", "voc", "--val", 0, "--out", "v").code == 0
    (here / "v/class_names.txt").unlink()
    assert segkit("convert", "v", "--val", 0, "--out", "c").code == 0
    assert areas(here / "c") == {"dent": [100], "scratch": [400]}


def test_masks_that_are_not_told_apart_are_instances_only_with_a_note(segkit, here):
    for number in (1, 2):
        picture(here / f"in/images/p{number}.jpg")
        mask(here / f"in/masks/p{number}.png", *[(n + 1, 20) for n in range(number)])
    assert segkit("convert", "in", "--val", 0).code == 0
    assert areas(here / "dataset") == {"object": [200, 200, 200]}
    assert any("--from semantic" in why for _, why in whys(here / "dataset"))


def test_masks_beside_pictures_and_a_list_in_each_folder(segkit, here):
    """As Roboflow exports them."""
    for split in ("train", "valid"):
        picture(here / f"in/{split}/a.jpg")
        mask(here / f"in/{split}/a_mask.png", (1, 20), (2, 21))
        (here / f"in/{split}/_classes.csv").write_text("Pixel Value, Class\n0, background\n1, crack\n2, hole\n")
    assert segkit("convert", "in", "--strict").code == 0
    assert areas(here / "dataset") == {"background": [2662], "crack": [200], "hole": [210]}
    assert (here / "dataset/val.json").is_file()


def test_masks_as_gif_in_a_folder_with_an_ending(segkit, here):
    """As in Carvana's data."""
    picture(here / "in/train/a.jpg")
    mask(here / "in/train_masks/a_mask.gif", (255, 20))
    assert segkit("convert", "in", "--val", 0, "--strict").code == 0
    assert areas(here / "dataset") == {"object": [200]}


def test_many_faults_of_a_kind_are_one_line_on_the_terminal(segkit, here):
    for number in range(12):
        picture(here / f"in/images/{number}.jpg")
        mask(here / f"in/masks/{number}.png", (1, 20), (50 + number, 21))
        if number % 3:
            (here / f"in/masks/{number}.png").write_bytes(b"broken")
    (here / "in/classes.txt").write_text("0 _background_\n1 crack\n")
    outcome = segkit("convert", "in", "--val", 0)
    assert outcome.code == 0
    assert len(whys(here / "dataset")) == 2


def test_pictures_and_masks_without_partner_have_rows_and_drawings_have_none(segkit, here):
    for name in ("img", "img_2"):
        picture(here / f"in/images/{name}.jpg")
    for name in ("img", "img_3", "img_color", "img_overlay"):
        mask(here / f"in/masks/{name}.png", (1, 20), (2, 9))
    assert segkit("convert", "in", "--val", 0, "--from", "idmask", "--strict").code == 3
    report = json.loads((here / "dataset/report.json").read_text())
    rows = {(row["file"], row["why"], row["shapes"]) for row in report["findings"] if row["action"] == "left out"}
    assert rows == {
        ("images/img_2.jpg", "a picture without a mask", 0),
        ("masks/img_3.png", "a mask without a picture", 2),
    }
    assert (report["shapes"], report["lost"], report["images"]) == (4, 2, 1)
