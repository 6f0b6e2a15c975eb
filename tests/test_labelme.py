"""Reading LabelMe files of every release, of other tools, and damaged ones."""

import base64
import io
import json
import os

import numpy as np
import pytest
from labelme_files import png, shape, square, write
from PIL import Image, ImageOps

from segkit.data.masks import mask_to_rle, rle_to_mask, to_rle
from segkit.data.pictures import read_header
from segkit.data.pixels import load_upright_rgb, write_upright
from segkit.data.records import Result
from segkit.formats.labelme.images import LabelmeOptions, read
from segkit.formats.labelme.write import labelme_document, result_shapes, write_labelme
from segkit.formats.shapes.regions import ShapeOptions


def whys(outcome):
    return [(finding.action, finding.why) for finding in outcome.findings]


def test_a_group_is_one_instance(tmp_path):
    path = write(
        tmp_path / "a.json",
        [
            square(10, 10, 20, group_id=1),
            square(50, 10, 20, group_id=1),
            square(90, 10, 20, group_id=2),
            square(5, 60, 9),
        ],
    )
    instances = read((path, "a.json")).image.instances
    assert [i.area for i in instances] == [800, 400, 81]
    assert len(instances[0].segmentation) == 2
    assert instances[0].bbox == (10, 10, 60, 20)
    assert instances[0].attributes["group_id"] == 1


def test_a_group_of_two_labels_is_two_instances(tmp_path):
    path = write(tmp_path / "a.json", [square(10, 10, 20, "a", group_id=1), square(50, 10, 20, "b", group_id=1)])
    assert [i.label for i in read((path, "a.json")).image.instances] == ["a", "b"]


def test_overlapping_parts_are_a_union_and_not_counted_twice(tmp_path):
    path = write(tmp_path / "a.json", [square(10, 10, 20, group_id=1), square(20, 10, 20, group_id=1)])
    (instance,) = read((path, "a.json")).image.instances
    assert instance.area == 600
    assert isinstance(instance.segmentation, dict)


def test_a_polygon_and_a_mask_in_one_group(tmp_path):
    mask = shape("box", [[60, 10], [69, 19]], "mask", group_id=1, mask=png(np.ones((10, 10))))
    path = write(tmp_path / "a.json", [square(10, 10, 20, group_id=1), mask])
    (instance,) = read((path, "a.json")).image.instances
    assert instance.area == 500


def test_a_hole_label_is_cut_out_of_its_group(tmp_path):
    path = write(tmp_path / "a.json", [square(10, 10, 40, group_id=1), square(20, 20, 10, "hole", group_id=1)])
    (instance,) = read((path, "a.json"), LabelmeOptions(shapes=ShapeOptions(hole_label="hole"))).image.instances
    assert instance.area == 1500
    assert rle_to_mask(instance.segmentation)[25, 25] == 0
    path = write(tmp_path / "b.json", [square(10, 10, 40), square(20, 20, 10, "hole")])
    outcome = read((path, "b.json"), LabelmeOptions(shapes=ShapeOptions(hole_label="hole")))
    assert whys(outcome) == [("left out", "a hole needs the group_id of the instance that it is in")]


def test_flags_description_and_foreign_keys_are_kept(tmp_path):
    path = write(
        tmp_path / "a.json",
        [square(10, 10, 20, flags={"occluded": True, "blurred": False}, description="left wing", score=0.5)],
    )
    (instance,) = read((path, "a.json")).image.instances
    assert instance.attributes == {"occluded": True, "description": "left wing", "score": 0.5}


def test_crowds_and_ignored_regions(tmp_path):
    path = write(tmp_path / "a.json", [square(10, 10, 20, flags={"crowd": True}), square(50, 10, 20, "__ignore__")])
    assert [i.iscrowd for i in read((path, "a.json")).image.instances] == [1, 1]


def test_background_is_not_an_instance(tmp_path):
    outcome = read((write(tmp_path / "a.json", [square(0, 0, 20, "_background_")]), "a.json"))
    assert outcome.image.instances == ()
    assert whys(outcome) == [("left out", "background is what no shape covers")]


def test_a_labelme_file_of_2016(tmp_path):
    """No version, no shape_type, no size, colours."""
    write(tmp_path / "a.json", [])
    old = {
        "shapes": [{"label": "cat", "line_color": None, "fill_color": None, "points": square(10, 10, 20)["points"]}],
        "lineColor": [0, 255, 0, 128],
        "fillColor": [255, 0, 0, 128],
        "imagePath": "a.png",
        "imageData": None,
    }
    (tmp_path / "a.json").write_text(json.dumps(old))
    image = read((tmp_path / "a.json", "a.json")).image
    assert (image.height, image.width) == (120, 200)
    assert [(i.label, i.area, i.attributes) for i in image.instances] == [("cat", 400, {})]


@pytest.mark.parametrize(
    ("encoding", "label"), [("gbk", "猫狗动物园的照片"), ("cp1252", "Größe für Bäume"), ("utf-8-sig", "猫")]
)
def test_files_in_an_old_windows_code_page(tmp_path, encoding, label):
    path = write(tmp_path / "a.json", [square(10, 10, 20, label)])
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    outcome = read((path, "a.json"))
    assert [i.label for i in outcome.image.instances] == [label]
    assert (len(outcome.findings) == 1) == (encoding != "utf-8-sig")


def embedded(size=(120, 200), exif=None):
    buffer = io.BytesIO()
    picture = Image.fromarray(np.full((*size, 3), 50, np.uint8))
    picture.save(buffer, "JPEG", **({"exif": exif} if exif else {}))
    return base64.b64encode(buffer.getvalue()).decode()


def test_an_embedded_image_is_used_rather_than_the_one_at_imagepath(tmp_path):
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(tmp_path / "other.png")
    path = write(tmp_path / "a.json", [square(10, 10, 20)], picture=False, imageData=embedded(), imagePath="other.png")
    outcome = read((path, "a.json"))
    assert outcome.image.picture.data[:2] == b"\xff\xd8"
    assert outcome.image.picture.name == "a.jpg"
    assert outcome.findings == ()


@pytest.mark.parametrize("named", ["..\\images\\a.png", "../images/a.png"])
def test_imagepath_may_have_slashes_or_backslashes(tmp_path, named):
    path = write(tmp_path / "labels" / "a.json", [square(10, 10, 20)], picture=False, imagePath=named)
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((120, 200, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    assert read((path, "a.json")).image.picture.path.resolve() == tmp_path / "images" / "a.png"


@pytest.mark.skipif(os.sep != "/", reason="a backslash parts folders there")
@pytest.mark.parametrize("named", ["{}", "../in/{}"])
def test_imagepath_may_have_a_backslash_in_the_name_of_the_file(tmp_path, named):
    path = write(
        tmp_path / "in" / "other.json", [square(10, 10, 20)], picture=False, imagePath=named.format("a\\b.png")
    )
    Image.fromarray(np.zeros((120, 200, 3), np.uint8)).save(tmp_path / "in" / "a\\b.png")
    outcome = read((path, "other.json"))
    assert outcome.image.picture.name == "a\\b.png"
    assert outcome.findings == ()


def test_if_imagepath_is_missing_the_image_with_the_name_of_the_file_is_used_and_reported(tmp_path):
    path = write(tmp_path / "a.json", [square(10, 10, 20)], imagePath="C:\\Users\\me\\old.png")
    outcome = read((path, "a.json"))
    assert outcome.image.picture.name == "a.png"
    assert outcome.findings[0].action == "repaired"


def test_an_image_is_found_in_images_dir(tmp_path):
    path = write(tmp_path / "labels" / "a.json", [square(10, 10, 20)], picture=False)
    assert read((path, "a.json")).image is None
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((120, 200, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    assert read((path, "a.json"), LabelmeOptions(images_dir=tmp_path / "images")).image is not None


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


@pytest.mark.parametrize(
    ("version", "declared", "expected", "turn"),
    [
        (
            "5.5.0",
            (200, 120),
            (200, 120),
            "apply",
        ),  # drawn on the upright picture, as LabelMe shows it since 3.11
        ("3.10.0", (120, 200), (120, 200), "drop"),  # drawn on the unturned pixels
        ("5.5.0", None, (200, 120), "apply"),
        ("3.4.0", None, (120, 200), "drop"),
    ],
)
def test_a_rotated_photo_keeps_the_orientation_it_was_annotated_in(tmp_path, version, declared, expected, turn):
    path = write(tmp_path / "a.json", [square(10, 10, 20)], picture=False, imagePath="a.jpg", version=version)
    Image.fromarray(np.zeros((120, 200, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif(6))
    document = json.loads(path.read_text())
    document["imageHeight"], document["imageWidth"] = declared or (None, None)
    path.write_text(json.dumps(document))
    image = read((path, "a.json")).image
    assert (image.height, image.width) == expected
    assert image.picture.exif == turn


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tif", "RGB"), ("tif", "L"), ("tif", "I;16"), ("png", "L"), ("jpg", "RGB")]
)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("turn", [True, False])
def test_rotated_images_of_every_format_are_rotated_once(tmp_path, suffix, mode, orientation, turn):
    pixels = np.zeros((24, 40, 3) if mode == "RGB" else (24, 40), np.uint16 if mode == "I;16" else np.uint8)
    pixels[:8, :8] = 250
    tags = Image.Exif()
    tags[274] = orientation
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=tags)
    header = read_header(tmp_path / f"a.{suffix}")
    assert (header.height, header.width, header.orientation) == (24, 40, orientation)
    write_upright(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}", "a", turn=turn)
    expected = Image.fromarray(pixels)
    if turn:
        expected.getexif()[274] = orientation
        expected = ImageOps.exif_transpose(expected)
    with Image.open(tmp_path / f"b.{suffix}") as written:
        assert written.getexif().get(274) is None
        assert np.abs(np.asarray(written).astype(int) - np.asarray(expected)).max() < 30
    if turn:
        assert load_upright_rgb(tmp_path / f"a.{suffix}").shape == (*expected.size[::-1], 3)


def test_an_image_that_was_scaled_after_annotation_is_scaled_back(tmp_path):
    path = write(tmp_path / "a.json", [square(150, 80, 30)])
    Image.fromarray(np.zeros((60, 100, 3), np.uint8)).save(tmp_path / "a.png")
    outcome = read((path, "a.json"))
    assert (outcome.image.height, outcome.image.width) == (120, 200)
    assert outcome.image.picture.resize
    assert outcome.findings[0].action == "changed"


def test_a_wrong_size_is_corrected_if_the_points_fit_the_image(tmp_path):
    path = write(tmp_path / "a.json", [square(150, 80, 30)], imageHeight=60, imageWidth=100)
    outcome = read((path, "a.json"))
    assert (outcome.image.height, outcome.image.width) == (120, 200)
    assert [f.action for f in outcome.findings] == ["repaired"]


BAD_SHAPES = [
    ("not a shape", "nonsense"),
    ("no label", {"points": [[0, 0]], "shape_type": "point"}),
    ("points are not pairs of numbers", shape("a", [[1, 2], [3]])),
    ("points are not pairs of numbers", shape("a", [[1, 2], [3, None], [4, 5]])),
    ("points are not pairs of numbers", shape("a", [[1, 2], [3, float("nan")], [4, 5]])),
    ("covers no pixel of the image", shape("a", [[500, 500], [600, 500], [600, 600]])),
    ("covers no pixel of the image", shape("a", [[5.1, 5.1], [5.2, 5.1], [5.2, 5.2]])),
]


@pytest.mark.parametrize(("why", "bad"), BAD_SHAPES)
def test_one_bad_shape_does_not_affect_the_others(tmp_path, why, bad):
    outcome = read((write(tmp_path / "a.json", [bad, square(10, 10, 20)]), "a.json"))
    assert whys(outcome) == [("left out", why)]
    assert len(outcome.image.instances) == 1
    assert outcome.num_shapes == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"shapes": [{"label": "a", "poi', "not valid JSON: ends in the middle"),
        (b"", "not valid JSON: ends in the middle"),
        (b'{"images": [], "annotations": []}', "not a LabelMe file"),
        (b"[1, 2]", "not a LabelMe file"),
        (b'{"shapes": [}\n', "not valid JSON: line 1"),
    ],
)
def test_files_that_are_not_labelme_files(tmp_path, content, why):
    (tmp_path / "a.json").write_bytes(content)
    outcome = read((tmp_path / "a.json", "a.json"))
    assert outcome.image is None
    assert outcome.findings[0].why.startswith(why)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    path = write(tmp_path / "a.json", [square(10, 10, 20)])
    (tmp_path / "a.png").write_bytes(b"not a picture")
    outcome = read((path, "a.json"))
    assert outcome.image is None
    assert outcome.findings[0].why.startswith("a.png: not an image that can be decoded")


def test_written_masks_are_read_back_as_the_same_rle(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "p.png")
    results = []
    for _ in range(20):
        mask = np.zeros((60, 80), np.uint8)
        y, x = rng.integers(0, 40, 2)
        mask[y : y + 20, x : x + 30] = rng.random((20, 30)) > 0.4
        results.append(Result(1, 1, float(rng.random()), (0, 0, 1, 1), mask_to_rle(mask)))
    path = tmp_path / "out" / "p.json"
    write_labelme(labelme_document(list(result_shapes(results, {1: "cell"}, 60, 80)), "../p.png", 60, 80), path)
    instances = read((path, "p.json")).image.instances
    assert [to_rle(i.segmentation, 60, 80) for i in instances] == [r.segmentation for r in results]
    assert [i.attributes["score"] for i in instances] == [r.score for r in results]
