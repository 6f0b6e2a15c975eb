"""Round trips of every pair of formats: what comes back is the same, or every difference is in the reports.

More drawn sets: SEGKIT_FUZZ=5000 pytest tests/test_round_trips.py
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from labelme_files import png, shape
from PIL import Image
from pycocotools.coco import COCO

from segkit.config.convert import ConvertConfig
from segkit.conversion.convert import convert
from segkit.errors import InputError

FORMATS = ["coco", "labelme", "yolo", "voc", "idmask", "semantic"]
EXAMPLES = max(1, int(os.environ.get("SEGKIT_FUZZ", "200")) // 100)
HEIGHT, WIDTH = 40, 60
LABELS = ["a", "b c"]
NAMES = ["p.jpg", "p.png", "my pic 1.png", "q/p.png", "q/r.s.jpg", "-é.png"]

quarter = st.integers(-8, 248).map(lambda n: n / 4)
tenth = st.integers(0, 390).map(lambda n: n / 10)


@st.composite
def polygon(draw):
    x, y = draw(quarter), draw(tenth)
    w, h = draw(st.integers(3, 40)), draw(st.integers(3, 30))
    return draw(
        st.sampled_from([[[x, y], [x + w, y], [x + w, y + h], [x, y + h]], [[x, y], [x + w, y + 1.3], [x, y + h]]])
    )


@st.composite
def shapes_of_an_instance(draw, number):
    """The shapes of a polygon, of two parts, of a mask with a hole, of a crowd, or of a region to ignore."""
    label = draw(st.sampled_from(LABELS))
    match draw(st.sampled_from(["polygon", "polygon", "parts", "hole", "crowd", "ignore", "flag"])):
        case "polygon":
            return [shape(label, draw(polygon()))]
        case "parts":
            return [shape(label, draw(polygon()), group_id=number) for _ in range(2)]
        case "hole":
            mask = np.ones((draw(st.integers(5, 12)), draw(st.integers(5, 12))))
            mask[2:-2, 2:-2] = 0
            left, top = draw(st.integers(0, 45)), draw(st.integers(0, 25))
            corners = [[left, top], [left + mask.shape[1] - 1, top + mask.shape[0] - 1]]
            return [shape(label, corners, "mask", mask=png(mask))]
        case "crowd":
            return [shape(label, draw(polygon()), flags={"iscrowd": True})]
        case "ignore":
            return [shape("__ignore__", draw(polygon()))]
    return [shape(label, draw(polygon()), flags={"occluded": True})]


@st.composite
def drawn_set(draw):
    """LabelMe documents by the name of their picture, and the split of each (None: it has none)."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    splits = draw(st.sampled_from([["train", "val", "test", None], ["train", "val"], [None]]))
    images = {}
    for name in names:
        count = draw(st.integers(0, 4))
        shapes = [each for number in range(count) for each in draw(shapes_of_an_instance(number + 1))]
        images[name] = (shapes, draw(st.sampled_from(splits)))
    return images


def write(folder, images):
    """LabelMe files and images; every image has a grey level of its own, by which it is known again."""
    for number, (name, (shapes, split)) in enumerate(images.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 20 + 18 * number, np.uint8)).save(path, quality=95)
        document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": path.name, "imageData": None}
        document |= {"imageHeight": HEIGHT, "imageWidth": WIDTH} | ({"split": split} if split else {})
        path.with_name(f"{path.name}.json").write_text(json.dumps(document))


def run(source, target, out, **options):
    return convert(ConvertConfig(src=str(source), target_format=target, out=out, **options))


def level_of(path):
    """The number of an image in the drawn set, by its grey level."""
    with Image.open(path) as picture:
        return round((float(np.asarray(picture.convert("L")).mean()) - 20) / 18)


def content(folder, out, **options):
    """What a dataset has, by image: its split, and its instances; read as COCO."""
    run(folder, "coco", out, ignore="crowd", **options)
    found = {}
    for split in ("train", "val", "test"):
        if not (file := out / f"{split}.json").is_file():
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(file))
        names = {each["id"]: each["name"] for each in coco.dataset["categories"]}
        instances, flags = defaultdict(Counter), defaultdict(Counter)
        for each in coco.dataset["annotations"]:
            key = names[each["category_id"]], coco.annToMask(each).tobytes(), each["iscrowd"]
            instances[each["image_id"]][key] += 1
            flags[each["image_id"]][key[0]] += "occluded" in each.get("attributes", {})
        for image in coco.dataset["images"]:
            level = level_of(out / "images" / image["file_name"])
            assert level not in found, "two images became one"
            found[level] = (split, instances[image["id"]], flags[image["id"]])
    return found


def rows_of_images(folder, summary):
    """The findings on each image of the source in ``folder``, found by its name."""
    levels = {}
    for path in (*folder.rglob("*.jpg"), *folder.rglob("*.png")):
        name = without_images(path.relative_to(folder))
        if not {"masks", "SegmentationClass", "SegmentationObject"} & set(path.parts):
            levels[name] = levels[name.rpartition(".")[0]] = level_of(path)
    rows = defaultdict(list)
    for row in summary.findings:
        name = without_images(Path(row.file)).removesuffix(".json")
        if row.action != "noted" or row.label == "__ignore__":
            rows[levels.get(name, levels.get(name.rpartition(".")[0]))].append(row)
    return rows


def without_images(path):
    return "/".join(part for part in path.parts if part not in ("images", "JPEGImages"))


def crowded(instances, label):
    """The pixels in crowds of a label."""
    masks = [np.frombuffer(mask, np.uint8) for name, mask, iscrowd in instances if name == label and iscrowd]
    return np.any(masks, axis=0).tobytes() if masks else bytes(HEIGHT * WIDTH)


def check_same_or_reported(before, after, rows):
    """Every instance that is not the same has a row with its image and label, or one on what hides it or joins it."""
    for level, (split, instances, flags) in before.items():
        assert level in after, f"image {level} vanished"
        assert after[level][0] == split, f"image {level} changed its split"
        mine = [row for each in rows for row in each[level]]
        labels = Counter(row.label for row in mine)
        joined = {row.label for row in mine if "one region" in row.why}
        gone, new = instances - after[level][1], after[level][1] - instances
        for label in LABELS:
            differ = max(sum(n for key, n in some.items() if key[0] == label and not key[2]) for some in (gone, new))
            assert differ <= labels[label] or label in joined, f"{differ} of {label!r} differ in image {level}"
            # Regions to ignore are crowds of every category here; several may have become one.
            same = crowded(instances, label) == crowded(after[level][1], label)
            assert same or labels[label] or labels["__ignore__"], f"crowds of {label!r} differ in image {level}"
            assert flags[label] == after[level][2][label] or labels[None] or labels[label]


def box(label, x, y, w, h, **more):
    return shape(label, [[x, y], [x + w, y], [x + w, y + h], [x, y + h]], **more)


RING = np.ones((12, 10))
RING[3:-3, 3:-3] = 0
EVERYTHING = {  # each of the drawn kinds, in images whose stems are equal, with spaces, in splits and in none
    "p.jpg": (
        [
            box("a", 1.1, 2.3, 9.7, 8),
            box("a", 30, 2, 8, 8, group_id=1),
            box("a", 42, 2, 8, 8, group_id=1),
            shape("b c", [[20, 20], [29, 31]], "mask", mask=png(RING)),
            box("b c", 2, 20, 15, 12, flags={"iscrowd": True}),
        ],
        "train",
    ),
    "p.png": ([box("b c", -3, -3, 20, 20), box("a", 10, 10, 20, 20), box("__ignore__", 25, 25, 20, 20)], "val"),
    "my pic 1.png": ([], "test"),
    "q/p.png": ([box("a", 5, 5, 5.5, 5.5, flags={"occluded": True}), box("b c", 5, 5, 5.5, 5.5)], None),
    "-é.png": ([box("b c", 0, 0, 60, 40)], "val"),
}


@pytest.mark.parametrize("second", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
@example(images=EVERYTHING)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(images=drawn_set())
def test_what_comes_back_is_the_same_or_reported(first, second, images):
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder / "in", images)
        try:
            start = run(folder / "in", first, folder / "a")
            # Where nothing but train is there, val would be drawn from it.
            options = {"val": 0.0} if list(start.splits) == ["train"] else {}
            there = run(folder / "a", second, folder / "b", source_format=first, **options)
            back = run(folder / "b", first, folder / "c", source_format=second, **options)
        except InputError as error:  # every shape is a region to ignore, or the like
            if "nothing would be left" not in error.message:
                raise
            return
        before = content(folder / "a", folder / "a_content", source_format=first, **options)
        after = content(folder / "c", folder / "c_content", source_format=first, **options)
        assert len(before) == len(images)
        check_same_or_reported(before, after, [rows_of_images(folder / "a", there), rows_of_images(folder / "b", back)])
        for summary in (start, there, back):
            assert summary.shapes == summary.converted + summary.left_out + summary.dropped
    finally:
        shutil.rmtree(folder)


FOLDERS = [
    *["", "images/", "images/images/", "masks/", "labels/", "annotations/", "JPEGImages/", "SegmentationClass/"],
    *["gtFine/", "imgfolder/", "maskfolder/", "s/", "s_masks/", "sannot/", "img_dir/", "ann_dir/", "Annotations/"],
    *["train/", "val/", "test/", "train/val/", "x_train/", "x_val/", "trainannot/", "images/train/", "labels/val/"],
]
STEMS = ["a", "a_mask", "a_label", "a_color", "a_gtFine_labelIds", "a_cp_masks", "train", "classes", "panoptic_val"]
ODD_NAMES = [
    *[
        f"{folder}a.png"
        for folder in ("", "images/", "masks/", "labels/", "images/images/", "SegmentationClass/", "s/")
    ],
    *["a_mask.png", "s/a_color.png", "s_masks/a.png", "train/a.png", "val/a.png", "train/val/a.png"],
]
odd_names = st.lists(
    st.builds("{}{}{}".format, st.sampled_from(FOLDERS), st.sampled_from(STEMS), st.sampled_from([".png", ".jpg"])),
    min_size=1,
    max_size=6,
    unique=True,
).filter(lambda names: not {"JPEGImages", "SegmentationClass"} <= {name.partition("/")[0] for name in names})


def check_names(names, *targets):
    """Images with these names go through the formats, each found by its files, and are the same."""
    folder = Path(tempfile.mkdtemp())
    try:
        write(folder / "in", {name: ([box("a", 3, 4, 5 + n, 6)], None) for n, name in enumerate(names)})
        start = run(folder / "in", "coco", folder / "start")
        drawn = any("drawn by segkit (val" in origin for origin in start.split_origins)  # the folders name no val
        options = {"val": 0.0} if drawn else {}
        before = content(folder / "in", folder / "before", **options)
        source = folder / "in"
        for number, target in enumerate(targets):
            run(source, target, folder / str(number), **options)
            source = folder / str(number)
        assert len(before) == len(names)
        assert content(source, folder / "after", **options) == before
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("second", [*FORMATS, "panoptic"])
@pytest.mark.parametrize("first", [*FORMATS, "panoptic"])
def test_names_that_look_like_parts_of_a_format_keep_their_own_instances(first, second):
    check_names(ODD_NAMES, first, second)


@pytest.mark.skipif(os.sep != "/", reason="a backslash parts folders there")
@pytest.mark.parametrize("target", [*FORMATS, "panoptic"])
def test_a_backslash_is_a_part_of_a_name(target):
    check_names(["back\\slash.png", "fo\\lder/a.png", "a.png"], target)


@pytest.mark.parametrize("target", [*FORMATS, "panoptic"])
@settings(max_examples=2 * EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(names=odd_names)
def test_drawn_names_keep_their_own_instances(target, names):
    check_names(names, target)
